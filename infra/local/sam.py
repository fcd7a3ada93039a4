"""The SAM command line as people use it, on a copy of the project and against the embedded AWS alone."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from infra.local.endpoint import cloud_environment
from infra.local.errors import SamError
from infra.local.package import REFERENCES, read_template

ROOT = Path(__file__).resolve().parents[2]
SAM = ROOT / ".venv-sam" / "bin" / "sam"
STACK = "kalshi-arb"
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")
_LONGEST = 500  # characters of what it said


def copy_project(template: Path, target: Path) -> Path:
    """Copy a template and the local files it names, nothing else.

    :returns: the template's copy
    :raises TemplateError: the template cannot be read
    """
    target.mkdir(parents=True)
    copied = target / template.name
    shutil.copyfile(template, copied)
    for resource in read_template(template)["Resources"].values():
        for reference in REFERENCES:
            value = (resource.get("Properties") or {}).get(reference.property)
            if resource["Type"] != reference.resource or not isinstance(value, str):
                continue
            source, place = template.parent / value, target / value
            if source.is_dir():
                shutil.copytree(source, place, ignore=_IGNORED, dirs_exist_ok=True)
            elif source.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, place)
    return copied


class Sam:
    """Runs ``sam`` in a project's folder. It reads no account, no profile and no configuration of the person."""

    def __init__(self, template: Path, url: str, log: Path) -> None:
        """Look the command line up.

        :param template: in the folder that commands run in; built artifacts go below it
        :param url: of the embedded AWS
        :param log: everything the commands print is appended here
        :raises SamError: the command line is not installed
        :raises EndpointError: the address is not loopback
        """
        if not SAM.exists():
            raise SamError("the SAM command line is not installed: run `python3 infra/env/bootstrap.py .venv-sam`")
        self._template = template
        self._folder = template.parent
        self._log = log
        # What pip needs to find its index stays; what names an account goes.
        own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_", "KALSHI_"))}
        self._environment = {
            **own,
            **cloud_environment(url),
            "PATH": f"{SAM.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.5",  # seconds between two looks at a deployment
            "__SAM_CLI_APP_DIR": str(self._folder / ".sam"),
        }

    @property
    def built(self) -> Path:
        """The template that :meth:`build` wrote."""
        return self._folder / ".aws-sam" / "build" / "template.yaml"

    def build(self) -> None:
        """``sam build``: what has not changed since the last time is taken over. :raises SamError: it failed."""
        self._run("build", "--cached", "--template-file", str(self._template))

    def deploy(self, parameters: Mapping[str, str], template: Path | None = None) -> None:
        """``sam deploy`` of what was built, or of another template beside it.

        :raises SamError: the stack was refused, or it was rolled back
        """
        values = [f"ParameterKey={name},ParameterValue={value}" for name, value in parameters.items()]
        self._run(
            *("deploy", "--template-file", str(template or self.built), "--stack-name", STACK, "--resolve-s3"),
            *("--capabilities", "CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"),
            *("--no-confirm-changeset", "--no-progressbar", "--parameter-overrides", *values),
        )

    def invoke(self, logical_id: str, event: Path) -> str:
        """``sam remote invoke`` of a function. :returns: its answer :raises SamError: it failed"""
        return self._run("remote", "invoke", logical_id, "--stack-name", STACK, "--event-file", str(event))

    def _run(self, *arguments: str) -> str:
        with self._log.open("a") as log:
            log.write(f"$ sam {' '.join(arguments)}\n")
            log.flush()
            done = subprocess.run(
                [str(SAM), *arguments],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            log.write(done.stdout + done.stderr + "\n")
        if done.returncode:
            said = (done.stdout + done.stderr).split("Error:")
            raise SamError(f"sam {arguments[0]}: {' '.join(said[-1].split())[-_LONGEST:]}")
        return done.stdout
