"""`kalshi-arb doctor`: check that this machine can run the system, one line per check."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from kalshi_arb.cli.local_state import STATE_FOLDER, read_run_state
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.settings import PREFIX, Settings

NEEDED_MEMORY_MB = 2_000
NEEDED_DISK_MB = 500
NEEDED_PACKAGES = ("aws-lambda-powertools", "boto3", "cryptography", "httpx", "msgspec", "pydantic", "websockets")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``advice`` says what to do when it is not ok."""

    check: str
    ok: bool
    found: str
    advice: str = ""


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


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def doctor(as_json: bool) -> None:
    """Check that this machine can run the system; exit 1 when something must be done first."""
    results = list(findings())
    healthy = all(result.ok for result in results)
    if as_json:
        click.echo(json.dumps({"healthy": healthy, "checks": [asdict(result) for result in results]}))
    else:
        for result in results:
            line = f"{'ok ' if result.ok else 'BAD'}  {result.check:<10} {result.found}"
            click.echo(line if result.ok else f"{line}: {result.advice}")
    if not healthy:
        raise click.exceptions.Exit(1)
