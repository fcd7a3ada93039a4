"""The environment script finds an interpreter that really runs, and says what to do when there is none."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "infra/env/bootstrap.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_shim_that_fails_is_passed_over(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(tmp_path / "shims/python3.13", "#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    real = executable(tmp_path / "home/.pyenv/versions/3.13.9/bin/python3.13", "#!/bin/sh\necho 3.13.9 /usr/bin/x\n")
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    assert script.python_for(".venv") == (str(real), "3.13.9")


def test_the_newest_version_that_runs_is_preferred(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(tmp_path / "bin/python3.11", "#!/bin/sh\necho 3.11.2 x\n")
    newer = executable(tmp_path / "bin/python3.12", "#!/bin/sh\necho 3.12.1 x\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    assert script.python_for(".venv") == (str(newer), "3.12.1")


def test_no_usable_python_is_one_clear_line(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    monkeypatch.setattr(script, "probe", lambda _python: None)
    with pytest.raises(SystemExit) as ended:
        script.python_for(".venv")
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: no usable Python 3.13, 3.12 or 3.11")


def test_an_environment_that_needs_a_newer_python_is_left_out_and_said_to_be(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    executable(tmp_path / "bin/python3.12", "#!/bin/sh\necho 3.12.1 x\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setattr(sys, "version_info", (3, 12, 0))
    assert script.python_for(".venv-sdk") is None
    assert capsys.readouterr().err == ".venv-sdk: left out, it needs Python 3.13\n"


def test_an_unknown_environment_is_refused() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), ".venv-nope"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unknown environment .venv-nope" in done.stderr


@pytest.mark.parametrize(
    "lock",
    [
        "infra/env/requirements.txt",
        "infra/env/sam.txt",
        "infra/env/sdk.txt",
        "infra/env/bench.txt",
        "shared/requirements.txt",
        "feed_container/requirements.txt",
    ],
)
def test_locks_pin_every_package_with_hashes_and_name_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "index-url" not in text
    blocks = [block for block in text.replace("\\\n", " ").splitlines() if block.strip()]
    assert len(blocks) > 10
    for block in blocks:
        assert "==" in block.split()[0] or "==" in block, block
        assert "--hash=sha256:" in block, block


def test_the_layer_and_the_container_are_locked_to_what_is_tested() -> None:
    def pins(lock: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in (ROOT / lock).read_text().splitlines():
            if "==" in line and not line.startswith(" "):
                name, _, rest = line.partition("==")
                found.setdefault(name, set()).add(rest.split()[0])
        return found

    tested = pins("infra/env/requirements.txt")
    for lock in ("shared/requirements.txt", "feed_container/requirements.txt"):
        for name, versions in pins(lock).items():
            assert versions <= tested[name], f"{lock}: {name}"
