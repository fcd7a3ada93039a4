"""The process of the embedded AWS: patched, loopback only, gone when its parent is gone.

Started by :mod:`infra.local.cloud` as ``python -m infra.local.emulator``; everything it needs is in its environment.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from infra.local.errors import LocalCloudError, SeamError
from infra.local.journal import Journal
from infra.local.options import EmulatorOptions
from infra.local.seams import PACKAGE, Seam, installed_version

VERSION = "1.5.33"
_GRACE = 1.0  # seconds between asking ourselves to end and leaving: with the parent gone nobody waits for an answer
REQUIRED = ("BIND_HOST", "GATEWAY_PORT", "STATE_DIR")
JOURNAL_VARIABLE = "LOCAL_CLOUD_JOURNAL"  # a folder; without it tables live as long as this process


def watch_parent(descriptor: int) -> None:
    """End this process when the other end of this pipe closes, which happens however the parent ends."""

    def wait() -> None:
        while os.read(descriptor, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
        os._exit(1)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


def check_environment(environ: Mapping[str, str]) -> None:
    """:raises LocalCloudError: a variable is missing, or would open the emulator to other machines."""
    missing = [name for name in REQUIRED if name not in environ]
    if missing:
        raise LocalCloudError(f"{', '.join(missing)} not set: this module is started by infra.local.cloud")
    if environ["BIND_HOST"] != "127.0.0.1":
        raise LocalCloudError(f"BIND_HOST is {environ['BIND_HOST']}: the local cloud listens on 127.0.0.1 only")


def patch(options: EmulatorOptions, folder: Path, journal: Path | None = None) -> None:
    """Put every patch in place, or none.

    :param folder: unpacked code goes here
    :param journal: tables are kept here
    :raises SeamError: the version or a seam is not what the patches fit
    :raises JournalError: what is in the journal cannot be used
    """
    if installed_version() != VERSION:
        raise SeamError(f"{PACKAGE} {installed_version()} is installed; the patches fit {VERSION}")
    from infra.local.patches import durable, invocation, metrics, stacks, upkeep, workflows

    if journal is not None:
        durable.apply(Journal(journal))
    stacks.apply()
    metrics.apply()
    workflows.apply()
    host = invocation.apply(options, folder)
    upkeep.Upkeep(options).start()
    host.start()


def main() -> None:
    """Run until SIGTERM or until the parent is gone."""
    try:
        check_environment(os.environ)
        watch_parent(sys.stdin.fileno())
        options = EmulatorOptions.from_environment(os.environ)
        journal = os.environ.get(JOURNAL_VARIABLE)
        patch(options, Path(os.environ["STATE_DIR"]) / "handlers", None if journal is None else Path(journal))
        serve = Seam("app", "main").function([])
    except LocalCloudError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from error
    serve()


if __name__ == "__main__":
    main()
