"""Secrets stay secret: no log line holds one, whatever is sent and however it fails."""

from tests.integration.auth.conftest import Office, Site

CANARY = "canary-7f3a"


def test_no_log_line_holds_a_secret(site: Site, office: Office) -> None:
    token, session = office.log_in(), office.admin()
    secrets = [token, office.password, session.cookies["meterline_session"], CANARY]
    made = office.send("POST", "/auth/keys/generate", {"password": CANARY}, session=session)
    secrets.append(office.log_in(made.json()["api_key"], CANARY))
    for body in ({"api_key": CANARY, "password": CANARY}, {"email": CANARY, "password": CANARY}):
        assert office.send("POST", "/auth/login", body).status_code == 401
    forged = office.send("GET", "/api/customers/names", token=f"{CANARY}.{CANARY}.x")
    assert forged.status_code == 401
    cookie = {"Cookie": f"meterline_session={CANARY}"}
    assert office.send("GET", "/api/customers/names", headers=cookie).status_code == 401
    logs = "".join(service.log_text for service in site.services)
    assert "gateway_started" in logs
    assert not [secret for secret in secrets if secret in logs]
    assert office.api_key not in logs
    assert office.email not in logs
