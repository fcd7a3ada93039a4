"""Dependencies point inwards, the domain needs the standard library only, and importing does nothing."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "shared" / "kalshi_arb"
HANDLERS = sorted((ROOT / "functions").glob("*/handler.py"))
INNER = ("relations", "detection", "execution", "risk", "kalshi")
AWS_PACKAGES = ("boto3", "botocore", "aws_lambda_powertools")


@cache
def imports_of(path: Path) -> tuple[tuple[str, bool], ...]:
    """Every module a file imports, anywhere in it, and whether it is imported for type checking only."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and isinstance(branch.test, ast.Name) and branch.test.id == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            yield name, id(node) in typing_only


def offences(paths: Iterator[Path] | list[Path], forbidden: tuple[str, ...]) -> list[str]:
    found = []
    for path in paths:
        for name, _ in imports_of(path):
            found += [
                f"{path.relative_to(ROOT)} imports {name}"
                for prefix in forbidden
                if name == prefix or name.startswith(prefix + ".")
            ]
    return found


def modules(folder: str) -> list[Path]:
    paths = sorted((LIBRARY / folder).rglob("*.py"))
    assert paths, folder
    return paths


def test_the_domain_imports_the_standard_library_and_itself_only() -> None:
    for path in modules("domain"):
        for name, _ in imports_of(path):
            root = name.split(".", 1)[0]
            assert root in sys.stdlib_module_names or name.startswith("kalshi_arb.domain."), f"{path.name}: {name}"


@pytest.mark.parametrize("room", INNER)
def test_inner_rooms_know_neither_aws_nor_who_composes_them(room: str) -> None:
    outside = (
        *AWS_PACKAGES,
        *(f"kalshi_arb.{name}" for name in ("aws", "bootstrap", "observability", "cli", "alerts", "api")),
        *("feed", "functions", "infra"),
    )
    assert offences(modules(room), outside) == []


def test_only_the_kalshi_room_speaks_http_to_the_exchange() -> None:
    rooms = [path for room in ("relations", "detection", "execution", "risk", "domain") for path in modules(room)]
    assert offences(rooms, ("httpx", "websockets", "kalshi_arb.kalshi.client", "kalshi_arb.kalshi.signing")) == []


def test_relations_and_detection_do_not_know_execution() -> None:
    assert offences(modules("relations"), ("kalshi_arb.detection", "kalshi_arb.execution", "kalshi_arb.risk")) == []
    verifier = [LIBRARY / "detection" / "verify.py"]
    assert offences(verifier, ("kalshi_arb.detection.propose", "kalshi_arb.execution", "kalshi_arb.risk")) == []


def test_aws_adapters_know_ports_and_domain_but_no_use_case() -> None:
    inward = tuple(f"kalshi_arb.{name}" for name in (*INNER, "bootstrap", "observability", "api", "alerts", "cli"))
    assert offences(modules("aws"), inward) == []


def test_nobody_but_aws_and_bootstrap_touches_boto3() -> None:
    others = [path for path in LIBRARY.rglob("*.py") if path.parent.name != "aws" and path.name != "bootstrap.py"]
    assert offences(others, ("boto3", "botocore", "kalshi_arb.aws")) == []


def test_the_library_knows_nothing_around_it() -> None:
    assert offences(sorted(LIBRARY.rglob("*.py")), ("feed", "functions", "infra", "tests")) == []


@pytest.mark.parametrize("path", HANDLERS, ids=lambda path: path.parent.name)
def test_handlers_are_thin(path: Path) -> None:
    """A handler sees what composes, what parses and what its answer is made of, but no adapter and no client."""
    forbidden = (
        *("boto3", "botocore", "httpx", "os", "functions", "infra", "feed"),
        *(f"kalshi_arb.{room}" for room in (*INNER, "aws", "ports", "settings")),
    )
    assert offences([path], forbidden) == []


def test_every_function_is_there() -> None:
    names = {path.parent.name for path in HANDLERS}
    assert names == {
        *("discovery", "detection", "risk_check", "execute_wave", "unwind", "assess", "close"),
        *("settlement", "sweeper", "alerts", "api", "authorizer"),
    }


# Asked by pydantic and click when our classes and commands are declared: plugins, and the language of help texts.
ASKED_BY_LIBRARIES = {"PYDANTIC_DISABLE_PLUGINS", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"}

WATCH = """
import importlib, os, sys
root = sys.argv[1]
seen = []

def guilty():
    # The innermost project file, unless a third-party module is being imported in between: that one reads for itself.
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            return None
        if name.startswith(root) and "/.venv/" not in name:
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return None

def watch(what):
    place = guilty()
    if place is not None:
        seen.append(f"{place} {what}")

class Environ(type(os.environ)):
    def __getitem__(self, key):
        watch(f"reads {key}")
        return super().__getitem__(key)
    def __iter__(self):
        watch("reads all variables")
        return super().__iter__()

old = os.environ
os.environ = Environ(old._data, old.encodekey, old.decodekey, old.encodevalue, old.decodevalue)
os.getenv = lambda key, default=None: os.environ.get(key, default)
import socket
socket.socket.connect = lambda *_: watch("opens a connection")
import botocore.session
import boto3.session
make = botocore.session.Session.create_client
botocore.session.Session.create_client = lambda *a, **k: (watch("makes a client"), make(*a, **k))[1]
boto3.session.Session.__init__ = lambda *a, **k: watch("makes a session")
for name in sys.argv[2:]:
    importlib.import_module(name)
    assert name in sys.modules
print("\\n".join(seen))
"""


def run_watch(root: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KALSHI_ARB_", "AWS_"))}
    paths = [str(root), *(str(ROOT / part) for part in ("shared", "feed_container", "."))]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    return subprocess.run(
        [sys.executable, "-c", WATCH, str(root), *names],
        capture_output=True, text=True, check=False, env=environment, timeout=60,
    )  # fmt: skip


def module_names() -> list[str]:
    names = []
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    feed = sorted((ROOT / "feed_container" / "feed").glob("*.py"))
    names += [f"feed.{path.stem}" for path in feed if path.stem not in ("__main__", "__init__")]
    return names + [f"functions.{path.parent.name}.handler" for path in HANDLERS]


def test_importing_builds_no_client_and_reads_no_environment() -> None:
    result = run_watch(ROOT, module_names())
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stdout.splitlines() if line.split()[-1] not in ASKED_BY_LIBRARIES] == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("import os; HOME = os.environ['HOME']", "reads HOME"),
        ("import os; HOME = os.environ.get('HOME')", "reads HOME"),
        ("import os; HOME = os.getenv('HOME')", "reads HOME"),
        ("import os; ALL = dict(os.environ)", "reads all variables"),
        ("import boto3; SESSION = boto3.Session()", "makes a session"),
        (
            "import botocore.session as b; C = b.Session().create_client('sqs', region_name='us-east-1')",
            "makes a client",
        ),
        ("import socket; socket.socket().connect(('127.0.0.1', 1))", "opens a connection"),
    ],
)
def test_the_watch_itself_notices(tmp_path: Path, line: str, what: str) -> None:
    (tmp_path / "culprit.py").write_text(line + "\n")
    result = run_watch(tmp_path, ["culprit"])
    assert result.returncode == 0, result.stderr
    assert what in result.stdout


def test_the_top_level_holds_the_rooms_that_were_agreed_and_nothing_else() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - git is what makes a checkout
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    tops = {name.partition("/")[0] for name in listed if (ROOT / name).exists()}
    rooms = {"README.md", "template.yaml", "functions", "feed_container", "shared", "infra", "tests", "events"}
    assert {name for name in tops if not name.startswith(".")} == rooms | {"LICENSE", "Makefile", "pyproject.toml"}
