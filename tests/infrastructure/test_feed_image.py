"""The feed's image: pinned, small in rights, and in agreement with the task that runs it."""

import fnmatch
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from feed import healthcheck
from infra.checks.template import Template

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "feed_container"


def instructions() -> list[tuple[str, str]]:
    """Keyword and argument of every line of the Dockerfile, continued lines joined, comments left out."""
    text = "\n".join(line for line in (FOLDER / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0].upper(), line.split(None, 1)[1]) for line in lines if line.strip()]


def arguments(keyword: str) -> list[str]:
    return [argument for word, argument in instructions() if word == keyword]


@pytest.fixture(scope="module")
def container() -> dict[str, Any]:
    ((_, task),) = Template.read(ROOT / "template.yaml").of_type("AWS::ECS::TaskDefinition")
    (found,) = task["ContainerDefinitions"]
    return dict(found)


def copies() -> list[list[str]]:
    """Sources of every COPY from the build context."""
    return [shlex.split(line)[:-1] for line in arguments("COPY") if not line.startswith("--from=")]


def test_the_base_is_pinned_by_tag_and_the_same_everywhere() -> None:
    bases = {line.split()[0] for line in arguments("FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.13-slim-[a-z]+", bases.pop())


def test_everything_copied_exists_and_passes_the_ignore_file() -> None:
    rules = [line for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")]
    for (source,) in copies():
        assert (ROOT / source).exists(), source
        ignored = True
        for rule in rules:
            pattern = rule.removeprefix("!")
            if fnmatch.fnmatch(source, pattern):
                ignored = not rule.startswith("!")
        assert not ignored, source


def test_secrets_and_state_stay_out() -> None:
    rules = [line for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert allowed == {"shared", "feed_container"} | {source for (source,) in copies()}


def test_only_hashed_wheels_are_installed() -> None:
    (install,) = (line for line in arguments("RUN") if "pip install" in line)
    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    assert "--hash=sha256:" in (FOLDER / "requirements.txt").read_text()


def test_it_is_nobody_special(container: dict[str, Any]) -> None:
    user = arguments("USER")[-1].split(":")[0]
    assert user not in ("root", "0")
    assert container["User"] == user
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert "Privileged" not in container


def test_it_writes_to_its_volume_alone(container: dict[str, Any]) -> None:
    (volume,) = (re.findall(r'"([^"]+)"', line) for line in arguments("VOLUME"))
    (mount,) = container["MountPoints"]
    (health,) = (entry["Value"] for entry in container["Environment"] if entry["Name"] == "KALSHI_ARB_HEALTH_FILE")
    assert container["ReadonlyRootFilesystem"] is True
    assert volume == [mount["ContainerPath"]]
    assert Path(health).parent == Path(mount["ContainerPath"])
    assert any(f"KALSHI_ARB_HEALTH_FILE={health}" in line for line in arguments("ENV"))
    assert any("compileall" in line for line in arguments("RUN"))


def test_it_starts_the_feed_and_both_health_checks_are_one(container: dict[str, Any]) -> None:
    assert arguments("ENTRYPOINT") == ['["python", "-m", "feed"]']
    assert (FOLDER / "feed" / "__main__.py").is_file()
    (check,) = arguments("HEALTHCHECK")
    command = re.findall(r'"([^"]+)"', check.split("CMD", 1)[1])
    assert container["HealthCheck"]["Command"] == ["CMD", *command]


def test_the_health_check_believes_a_fresh_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "health"
    monkeypatch.delenv("KALSHI_ARB_HEALTH_FILE", raising=False)
    assert healthcheck.main() == 1
    monkeypatch.setenv("KALSHI_ARB_HEALTH_FILE", str(file))
    assert healthcheck.main() == 1
    file.write_text("{}")
    written = file.stat().st_mtime
    monkeypatch.setattr("time.time", lambda: written + healthcheck.FRESH_SECONDS)
    assert healthcheck.main() == 0
    monkeypatch.setattr("time.time", lambda: written + healthcheck.FRESH_SECONDS + 1)
    assert healthcheck.main() == 1
    assert "health file is 31 s old" in capsys.readouterr().err
