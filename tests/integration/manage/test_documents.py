"""Documents over HTTP: exact, as they were issued, and as files."""

from datetime import date

import pytest

from tests.integration.manage.clients import Client
from tests.integration.manage.papers import TIERS, write_document, write_file
from tests.integration.manage.shop import contract_body, make_shop

FEBRUARY = date(2023, 2, 1)
UNCORRECTED = {"adjustments": [], "adjusted_by": [], "adjustment_waits": False} | {
    "review": None,
    "voided": None,
    "credited_by": [],
    "credited_lines": [],
    "payments": [],
    "amount_due": 1155.48,
    "overpaid": 0,
}
NOWHERE = "00000000-0000-4000-8000-00000000dead"


async def test_an_invoice_is_answered_as_it_was_issued(client: Client) -> None:
    crypto = {"address": "0xaa", "tokens": ["BTC"]}
    shop = make_shop(client, legal_name="Northwind Inc.", billing_crypto_details=crypto)
    wire = {"billing_account_id": "account-1"}
    body = contract_body(shop, billing_bank_transfer_details=wire)
    contract_ref = client.ok("POST", "/api/contracts", body)["contract_ref"]
    paper = await write_document(client, shop, contract_ref, issue_date=FEBRUARY)
    invoice = client.ok("GET", f"/api/invoices/{paper.ref}")
    products, entity, url = (invoice.pop(name) for name in ("products", "entity", "hosted_url"))
    assert invoice.pop("created_at").endswith("Z")
    assert invoice == {
        "invoice_ref": paper.ref,
        "document_number": "INV/2023-001",
        "parent_document_ref": None,
        "customer": {
            "customer_ref": shop.customer_ref,
            "customer_name": "Northwind",
            "customer_legal_name": "Northwind Inc.",
        },
        "state": "ISSUED",
        "issue_date": "2023-02-01",
        "due_date": "2023-03-03",
        "submission_date": None,
        "paid_date": None,
        "is_partial_period": False,
        "accounting_event_type": "INVOICE",
        "currency": "USD",
        "net_terms": 30,
        "sub_total": 1005.20,
        "total_discount": 50.26,
        "total_tax": 200.54,
        "credits_amount": 0,
        "total": 1155.48,
        "contract": {"contract_ref": contract_ref, "contract_number": 1},
        "number_in_contract": 1,
        "total_in_contract": 1155.48,
        "billing_bank_transfer_details": wire,
        "billing_online_payment_details": None,
        "billing_crypto_details": crypto,
        "period": {"start": "2023-01-01", "end": "2023-02-01"},
        **UNCORRECTED,
    }
    assert (entity["entity_name"], url.split("/i/")[0]) == ("US Entity", client.url)
    (product,) = products
    assert (product["product_name"], product["sub_total"]) == ("Platform", 1005.20)
    units, calls = product["lines"]
    assert units["line_item_ref"] == shop.line_refs["Units"]
    assert (units["quantity"], units["unit_price"], units["amount"]) == (100, None, 1005)
    assert units["tiers"] == TIERS
    assert (calls["unit_price"], calls["tiers"], calls["event_count"]) == (0.004, None, 3)


async def test_money_is_answered_digit_for_digit(client: Client) -> None:
    shop = make_shop(client)
    contract_ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    paper = await write_document(client, shop, contract_ref, issue_date=FEBRUARY)
    content = client.send("GET", f"/api/invoices/{paper.ref}").content
    assert b'"sub_total":1005.20,' in content
    assert b'"unit_price":0.0040,' in content


async def test_documents_are_filtered_and_come_newest_first(client: Client) -> None:
    shop = make_shop(client)
    contracts = [
        client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"] for _ in range(2)
    ]
    months = [date(2023, month, 1) for month in (2, 3, 4)]
    papers = [
        await write_document(client, shop, contracts[0], number=number, issue_date=month)
        for number, month in enumerate(months, start=1)
    ]
    other = await write_document(client, shop, contracts[1], issue_date=FEBRUARY)

    def found(**query: str) -> list[str]:
        page = {"limit": "50", "page": "0"} | query
        answer = client.ok("GET", "/api/documents/filter", None, **page)
        return [document["invoice_ref"] for document in answer]

    newest_first = [paper.ref for paper in reversed(papers)]
    assert found(contract_refs=contracts[0]) == newest_first
    assert set(found(contract_refs=",".join(contracts))) == {*newest_first, other.ref}
    assert set(found(customer_refs=shop.customer_ref)) == {*newest_first, other.ref}
    assert found(customer_refs=NOWHERE) == []
    assert found(contract_refs=contracts[0], limit="1", page="1") == newest_first[1:2]
    assert found(contract_refs=contracts[0], **{"from": "2023-03-01", "to": "2023-03-31"}) == [
        papers[1].ref
    ]
    assert len(found(state="ISSUED")) == 4
    assert found(state="PAID") == []


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ({}, {"/limit": "required", "/page": "required"}),
        ({"limit": "501", "page": "-1"}, {"/limit", "/page"}),
        ({"limit": "1", "page": "0", "contract_refs": "x,y"}, {"/contract_refs"}),
        ({"limit": "1", "page": "0", "state": "LOST"}, {"/state"}),
        ({"limit": "1", "page": "0", "from": "yesterday"}, {"/from"}),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(
    client: Client, query: dict[str, str], wrong: set[str]
) -> None:
    assert set(client.refused("GET", "/api/documents/filter", None, **query)) == set(wrong)


async def test_the_files_of_a_document_come_once_they_are_rendered(client: Client) -> None:
    shop = make_shop(client)
    contract_ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    paper = await write_document(client, shop, contract_ref, issue_date=FEBRUARY)
    path = f"/api/invoices/{paper.ref}"
    early = client.send("GET", path + "/pdf")
    assert early.status_code == 404
    assert early.json()["code"] == "file_not_ready"
    assert int(early.headers["Retry-After"]) > 0
    await write_file(client, paper, "PDF", b"%PDF-1.7 ...")
    await write_file(client, paper, "HTML", "<p>Grüße</p>".encode())
    pdf = client.send("GET", path + "/pdf")
    assert pdf.content == b"%PDF-1.7 ..."
    assert pdf.headers["Content-Type"] == "application/pdf"
    assert pdf.headers["Content-Disposition"] == "inline; filename*=UTF-8''INV%2F2023-001.pdf"
    html = client.send("GET", path + "/html/")
    assert html.text == "<p>Grüße</p>"
    assert html.headers["Content-Type"] == "text/html; charset=utf-8"
    assert html.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in html.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["", "/pdf", "/html"])
def test_a_document_that_does_not_exist_is_not_found(client: Client, path: str) -> None:
    answer = client.send("GET", f"/api/invoices/{NOWHERE}{path}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "document_unknown"
