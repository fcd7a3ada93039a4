"""`kalshi-arb doctor`: check that this machine, and a Kalshi exchange with a key, can be used, one line per check."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from kalshi_arb.cli.exchange_checks import ExchangeAccess, check_exchange
from kalshi_arb.cli.finding import Finding
from kalshi_arb.cli.local_state import STATE_FOLDER, read_run_state
from kalshi_arb.cli.options import json_option
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.kalshi.hosts import Exchange, hosts_of
from kalshi_arb.kalshi.signing import (
    KEY_ID,
    PRIVATE_KEY,
    PRIVATE_KEY_FILE,
    Credentials,
    credentials_from_environment,
    credentials_from_file,
)
from kalshi_arb.settings import PREFIX, Settings

NEEDED_MEMORY_MB = 2_000
NEEDED_DISK_MB = 500
NEEDED_PACKAGES = ("aws-lambda-powertools", "boto3", "cryptography", "httpx", "msgspec", "pydantic", "websockets")


def check_python() -> Finding:
    """The interpreter is one that the lock was made for."""
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", (3, 11) <= sys.version_info[:2] <= (3, 13), found, "use Python 3.13, 3.12 or 3.11")


def check_packages() -> Finding:
    """The packages the system cannot start without are installed."""
    missing = []
    for name in NEEDED_PACKAGES:
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("packages", False, f"missing {', '.join(missing)}", "run `make env`")
    return Finding("packages", True, f"{len(NEEDED_PACKAGES)} of {len(NEEDED_PACKAGES)} present")


def check_memory() -> Finding:
    """Enough memory is free for the local run."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    return Finding("memory", free >= NEEDED_MEMORY_MB, f"{free} MB free", f"free {NEEDED_MEMORY_MB} MB")


def check_disk() -> Finding:
    """Enough disk is free for the local run's state and logs."""
    free = shutil.disk_usage(Path.cwd()).free // 2**20
    return Finding("disk", free >= NEEDED_DISK_MB, f"{free} MB free", f"free {NEEDED_DISK_MB} MB here")


def check_loopback() -> Finding:
    """A server can listen on loopback."""
    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
    except OSError as error:
        return Finding("loopback", False, str(error), "allow servers on 127.0.0.1")
    return Finding("loopback", True, f"127.0.0.1:{port} can be bound")


def check_settings() -> Finding:
    """No environment variable with our prefix is one that we do not know."""
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        return Finding("settings", False, f"unknown: {', '.join(unknown)}", "unset them or correct their names")
    return Finding("settings", True, "no unknown variables")


def check_run() -> Finding:
    """A local run is there, or can be started."""
    try:
        state = read_run_state(STATE_FOLDER)
    except SettingsError as error:
        return Finding("run", False, "unreadable state", str(error))
    return Finding(
        "run", True, "not running" if state is None else f"running in mode {state.mode}, process {state.pid}"
    )


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_packages,
    check_memory,
    check_disk,
    check_loopback,
    check_settings,
    check_run,
)


def findings() -> Iterator[Finding]:
    """Run all checks in order."""
    for check in CHECKS:
        yield check()


def exchange_access(exchange: str, key_file: Path | None, key_id: str | None) -> ExchangeAccess:
    """What to check: the key of the options, else of the environment, and the hosts of the settings if they name any.

    Only the demo exchange is ever traded on from here, so only there must the key be allowed to write; on paper it
    need not be there either.

    :raises SettingsError: the key or a host cannot be used.
    :raises click.UsageError: there is no key.
    """
    if key_file is not None and key_id is not None:
        credentials: Credentials | None = credentials_from_file(key_file, key_id)
    else:
        credentials = credentials_from_environment(os.environ) if key_file is None and key_id is None else None
    if credentials is None:
        raise click.UsageError(
            f"--exchange needs --key-file and --key-id, or the key in {KEY_ID} and {PRIVATE_KEY_FILE} or {PRIVATE_KEY}"
        )
    chosen = Exchange(exchange)
    hosts = hosts_of(chosen, os.environ.get(f"{PREFIX}REST_URL"), os.environ.get(f"{PREFIX}WS_URL"))
    return ExchangeAccess(chosen, hosts, credentials, chosen is Exchange.DEMO, SystemClock())


@click.command()
@click.option(
    "--exchange",
    type=click.Choice([exchange.value for exchange in Exchange]),
    help="Check this exchange of Kalshi's too, with your key: host, clock, key, limits, scopes, cash, stream.",
)
@click.option("--key-file", type=click.Path(dir_okay=False, path_type=Path), help="Private key, PEM, RSA or Ed25519.")
@click.option("--key-id", help="Id of that key.")
@json_option
def doctor(exchange: str | None, key_file: Path | None, key_id: str | None, as_json: bool) -> None:
    """Check that this machine can run the system; exit 1 when something must be done first.

    \b
    Examples:
      kalshi-arb doctor
      kalshi-arb doctor --exchange demo --key-file key.pem --key-id 1b6c...
    """
    results = list(findings())
    if exchange is not None:
        results += check_exchange(exchange_access(exchange, key_file, key_id))
    elif key_file is not None or key_id is not None:
        raise click.UsageError("--key-file and --key-id need --exchange")
    healthy = all(result.ok for result in results)
    if as_json:
        click.echo(json.dumps({"healthy": healthy, "checks": [asdict(result) for result in results]}))
    else:
        for result in results:
            click.echo(f"{'ok ' if result.ok else 'BAD'}  {result.check:<10} {result.line}")
    if not healthy:
        raise click.exceptions.Exit(1)
