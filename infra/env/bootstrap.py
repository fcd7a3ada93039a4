"""Makes the project's Python environment: finds an interpreter that really runs, installs the locked packages.

Run by the Makefile with whatever ``python3`` the machine has, so it uses nothing but the standard library. A second
run with nothing changed only compares one stamp. Everything it says goes to standard error.

    python3 infra/env/bootstrap.py [.venv] [.venv-sam] [.venv-sdk] [.venv-bench]
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {
    ".venv": ROOT / "infra/env/requirements.txt",
    ".venv-sam": ROOT / "infra/env/sam.txt",
    ".venv-sdk": ROOT / "infra/env/sdk.txt",
    ".venv-bench": ROOT / "infra/env/bench.txt",
}
# 3.13 is what the functions run on; the others are good enough to develop with.
VERSIONS = ("3.13", "3.12", "3.11")
# What some packages need at least. Without such a Python their environment is left out, and said to be.
NEEDED = {".venv-sdk": ("3.13",), ".venv-bench": ("3.13", "3.12")}
PROBE = "import ensurepip, ssl, sys, venv; print('.'.join(map(str, sys.version_info[:3])), sys.executable)"


def say(line: str) -> None:
    """Tell the person what is going on."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - this script has no logger: it runs before there is one


def fail(line: str) -> NoReturn:
    """End with one clear line."""
    say(f"error: {line}")
    raise SystemExit(1)


def candidates(version: str) -> Iterator[str]:
    """Interpreters of a version that may be there: on the path first, then where version managers keep them."""
    name = f"python{version}"
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        path = Path(entry) / name
        if entry and path.is_file():
            yield str(path)
    home = Path.home()
    managed = (
        Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions",
        home / ".local/share/uv/python",
        Path("/opt/python"),
    )
    for folder in managed:
        if folder.is_dir():
            for path in sorted(folder.glob(f"*{version}*/bin/{name}"), reverse=True):
                yield str(path)
    if sys.version_info[:2] == tuple(int(part) for part in version.split(".")):
        yield sys.executable


def probe(python: str) -> str | None:
    """The full version of an interpreter that can really be executed, else None: shims of version managers fail."""
    try:
        done = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split()[0] if done.returncode == 0 and done.stdout else None


def python_for(name: str) -> tuple[str, str] | None:
    """The newest usable interpreter for an environment and its version, or None when that one may be left out."""
    for version in NEEDED.get(name, VERSIONS):
        for python in candidates(version):
            found = probe(python)
            if found and found.startswith(version + "."):
                return python, found
    if name in NEEDED:
        say(f"{name}: left out, it needs Python {' or '.join(NEEDED[name])}")
        return None
    fail(
        "no usable Python 3.13, 3.12 or 3.11 with venv, ensurepip and ssl was found; "
        "install one (on Debian: apt-get install python3 python3-venv) and run this again"
    )


def fingerprint(lock: Path) -> str:
    """Changes whenever the environment has to be made again."""
    digest = hashlib.sha256()
    project = (ROOT / "pyproject.toml").read_text().partition("\n[tool.")[0]
    for part in (lock.read_text(), project, Path(__file__).read_text(), str(ROOT)):
        digest.update(part.encode())
    return digest.hexdigest()


def run(arguments: list[str], doing: str) -> None:
    """Run a step; on failure show the end of what it printed and stop."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        say("\n".join(done.stdout.splitlines()[-15:]))
        fail(f"{doing} failed; the lines above say why. Nothing half-made is kept: run the same command again")


def make(name: str) -> None:
    """Make one environment unless its stamp says that it is there."""
    folder, lock = ROOT / name, LOCKS[name]
    stamp = folder / "made-from"
    wanted = fingerprint(lock)
    if stamp.is_file() and stamp.read_text() == wanted and (folder / "bin/python").exists():
        return
    started = time.monotonic()
    found = python_for(name)
    if found is None:
        return
    python, version = found
    packages = sum(1 for line in lock.read_text().splitlines() if "==" in line and not line.startswith(" "))
    say(f"{name}: Python {version} ({python}), {packages} locked packages; the first time takes about a minute ...")
    shutil.rmtree(folder, ignore_errors=True)
    run([python, "-m", "venv", str(folder)], f"creating {name}")
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
    run([*pip, "--require-hashes", "--no-deps", "-r", str(lock)], f"installing the locked packages into {name}")
    if name == ".venv":
        run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], "installing this project")
    stamp.write_text(wanted)
    say(f"{name}: ready after {time.monotonic() - started:.0f} s")


def main(names: list[str]) -> None:
    """Make the named environments, one process at a time."""
    for name in names:
        if name not in LOCKS:
            fail(f"unknown environment {name}; choose from {', '.join(LOCKS)}")
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what tells the owner of an older one
        fail(f"python3 is {sys.version.split()[0]}; 3.11 or newer is needed to start")
    with (ROOT / "infra/env/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in names:
            make(name)


if __name__ == "__main__":
    main(sys.argv[1:] or [".venv"])
