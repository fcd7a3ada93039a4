"""Says whether the feed is alive: exit code 0 while its health file is fresh. Standard library only, so that it starts
in milliseconds beside a busy feed."""

import os
import sys
import time
from pathlib import Path

FRESH_SECONDS = 30
"""The feed rewrites its health file every second while its loop turns."""


def main() -> int:
    """Judge the file that ``KALSHI_ARB_HEALTH_FILE`` names."""
    try:
        written = Path(os.environ["KALSHI_ARB_HEALTH_FILE"]).stat().st_mtime
    except (KeyError, OSError) as error:
        sys.stderr.write(f"no health file: {error}\n")
        return 1
    age = time.time() - written
    if age > FRESH_SECONDS:
        sys.stderr.write(f"health file is {age:.0f} s old\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
