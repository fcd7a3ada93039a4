"""Deploys the project with the real SAM command line to the embedded AWS, and shows what deployments do to it.

    python -m infra.local.deploy_check [--json]

Built and deployed as in an account, smoke tested, one function changed and updated, a template refused that names a
missing resource, and a deployment rolled back that could not be finished, with the old stack answering after each.
Everything happens on a copy in a temporary folder; the tree is only read.
"""

import contextlib
import json
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import click
import httpx
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from infra.checks.layers import LARGEST_LAYERS, size_of
from infra.local.children import Child
from infra.local.cloud import EmbeddedCloud
from infra.local.endpoint import local_client, local_session
from infra.local.errors import DeployCheckError, SamError
from infra.local.package import read_template
from infra.local.runner import ROOT, private_key
from infra.local.sam import STACK, Sam, copy_project
from infra.local.smoke import Check, Smoke
from infra.local.template import StackReport, adopt
from infra.local.venue import KEY_ID
from kalshi_arb.cli.local_state import STATE_FOLDER
from kalshi_arb.domain.errors import KalshiArbError

CHANGED = "functions/api/handler.py"
MARK = "x-deploy-check"
# What follows the handler of a function: the same answers, with a header that tells which build gave them.
MARKING = '''

_unmarked = handler


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: F811
    """The handler above, marked."""
    answer = _unmarked(event, context)
    return {{**answer, "headers": {{**answer.get("headers", {{}}), "{name}": "{value}"}}}}
'''
MISSING = """  DeployCheckQueue:
    Type: AWS::SQS::Queue
    Properties:
      RedrivePolicy:
        deadLetterTargetArn: !GetAtt NoSuchQueue.Arn
        maxReceiveCount: 3
"""
IMPOSSIBLE = """  DeployCheckAlarm:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Threshold: 1
"""
_ELF = b"\x7fELF"
_MACHINES = {"arm64": 183, "x86_64": 62}  # e_machine in the header of a compiled module
_RESOURCES = re.compile(r"^Resources:\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """One step, how long it took and what came of it."""

    name: str
    ok: bool
    seconds: float
    found: str


@dataclass(slots=True)
class Outcome:
    """Everything that is reported."""

    steps: list[Step] = field(default_factory=list)
    smoke: dict[str, list[Check]] = field(default_factory=dict)  # "deployed" and "kept"
    resources: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every step came out right; a smoke test with one wrong answer does not."""
        return bool(self.steps) and all(step.ok for step in self.steps)


def with_resource(template: Path, resource: str, target: Path) -> Path:
    """A copy of a template with one resource more. :raises DeployCheckError: the template has no Resources."""
    text, replaced = _RESOURCES.subn(lambda found: found.group() + resource, template.read_text(), count=1)
    if not replaced:
        raise DeployCheckError(f"{template} has no line `Resources:`")
    target.write_text(text)
    return target


def compiled_for(folder: Path, architecture: str) -> tuple[int, list[str]]:
    """How many compiled modules lie below a folder, and which of them are for another machine."""
    wanted = _MACHINES[architecture]
    number, foreign = 0, []
    for path in sorted(folder.rglob("*.so")):
        header = path.read_bytes()[:20]
        number += 1
        if not header.startswith(_ELF) or int.from_bytes(header[18:20], "little") != wanted:
            foreign.append(path.name)
    return number, foreign


class DeployCheck:
    """One run of it in a folder of its own."""

    def __init__(self, folder: Path, out: TextIO) -> None:
        """``folder`` is where everything goes; ``out`` is for people."""
        self._folder = folder
        self._out = out
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Every step in order; the first that fails is the last. :raises KalshiArbError: it could not begin."""
        with contextlib.ExitStack() as stack:
            self._run(stack)
        return self.outcome

    def _step(self, name: str, work: Callable[[], str]) -> bool:
        self._out.write(f"{name} ...\n")
        self._out.flush()
        began = time.monotonic()
        try:
            ok, found = True, work()
        except (KalshiArbError, httpx.HTTPError, BotoCoreError, ClientError, OSError, KeyError, ValueError) as error:
            ok, found = False, f"{type(error).__name__}: {error}"
        step = Step(name, ok, round(time.monotonic() - began, 1), found)
        self.outcome.steps.append(step)
        self._out.write(f"  {'ok ' if ok else 'BAD'} {step.seconds:5.1f} s  {found}\n")
        return ok

    def _run(self, stack: contextlib.ExitStack) -> None:
        folder = self._folder
        key = private_key(folder / "key.pem")
        public = folder / "key.pub"
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        exchange = Child(
            "exchange",
            ["-m", "infra.exchange", "--json", "--public-key-file", str(public), "--key-id", KEY_ID],
            folder / "exchange.log",
            {},
        )
        stack.callback(exchange.stop, 3)
        cloud = stack.enter_context(EmbeddedCloud(state_dir=folder / "cloud", log_file=folder / "cloud.log"))
        address = json.loads(exchange.first_line())
        parameters = {"Mode": "simulated", "ExchangeRestUrl": address["rest_url"], "ExchangeWsUrl": address["ws_url"]}
        project = folder / "project"
        sam = Sam(copy_project(ROOT / "template.yaml", project), cloud.url, folder / "sam.log")
        session = local_session()

        def client(service: str) -> Any:
            return local_client(service, cloud.url, session)

        if not self._step("sam build", lambda: self._build(sam)):
            return
        if not self._step("sam deploy", lambda: self._deployed(sam, parameters, client)):
            return
        reports: list[StackReport] = []
        if not self._step("declared against created", lambda: self._compare(cloud.url, reports)):
            return
        report = reports[0]
        token = _exchange_secrets(client("secretsmanager"), report.outputs, folder / "key.pem")
        smoke = Smoke(report, token, client)
        changes = Changes(sam, parameters, project / CHANGED, f"{report.api_url}/health", token, client)
        steps: dict[str, Callable[[], str]] = {
            "smoke test": lambda: self._smoke("deployed", smoke),
            "sam remote invoke": lambda: self._invoke(sam),
            "update of one function": changes.update,
            "template that names a missing resource": changes.refuse,
            "deployment that cannot be finished": changes.roll_back,
            "smoke test of the stack that was kept": lambda: self._smoke("kept", smoke),
        }
        for name, work in steps.items():
            if not self._step(name, work):
                return

    def _build(self, sam: Sam) -> str:
        sam.build()
        return "; ".join(self._layer(sam, name) for name in LARGEST_LAYERS)

    def _layer(self, sam: Sam, name: str) -> str:
        layer = sam.built.parent / name
        architecture = read_template(sam.built)["Resources"][name]["Metadata"]["BuildArchitecture"]
        compiled, foreign = compiled_for(layer, architecture)
        if foreign or not compiled:
            raise DeployCheckError(f"of {compiled} compiled modules in {name}, not for {architecture}: {foreign}")
        size = size_of(layer)
        if size > LARGEST_LAYERS[name]:
            raise DeployCheckError(f"{name} has {size:.1f} MB, more than {LARGEST_LAYERS[name]}")
        return f"{name} of {size:.0f} MB with {compiled} compiled modules, all for {architecture}"

    def _deployed(self, sam: Sam, parameters: dict[str, str], client: Callable[[str], Any]) -> str:
        sam.deploy(parameters)
        return _status(client)

    def _compare(self, url: str, reports: list[StackReport]) -> str:
        report = adopt(url, STACK)
        reports.append(report)
        self.outcome.resources = {
            "declared": report.declared,
            "created": report.created,
            "missing": report.missing,
            "not_emulated": report.not_emulated,
        }
        if report.missing:
            raise DeployCheckError(f"missing: {'; '.join(report.missing)}")
        return f"{report.declared} resources declared, {report.created} confirmed by their own services"

    def _smoke(self, when: str, smoke: Smoke) -> str:
        checks = []
        for check in smoke.run():
            self._out.write(f"      {'ok ' if check.ok else 'BAD'} {check.name}: {check.found}\n")
            checks.append(check)
        self.outcome.smoke[when] = checks
        wrong = [check.name for check in checks if not check.ok]
        if wrong:
            raise DeployCheckError(f"wrong: {', '.join(wrong)}")
        return f"{len(checks)} of {len(checks)} checks"

    def _invoke(self, sam: Sam) -> str:
        answer = json.loads(sam.invoke("DetectionFunction", ROOT / "events" / "scan_on_demand.json"))
        if "counts" not in answer:
            raise DeployCheckError(f"it answered {answer}")
        return f"events/scan_on_demand.json answers {json.dumps(answer['counts'])}"


class Changes:
    """Deployments over a stack that stands, each followed by the question which build answers."""

    def __init__(
        self,
        sam: Sam,
        parameters: Mapping[str, str],
        source: Path,
        url: str,
        token: str,
        client: Callable[[str], Any],
    ) -> None:
        """``source`` is the file of a function that answers at ``url``."""
        self._sam = sam
        self._parameters = parameters
        self._source = source
        self._original = source.read_text()
        self._url = url
        self._token = token
        self._client = client
        self._live: str | None = None  # the mark of the build that must answer now

    def update(self) -> str:
        """Change one function. :raises DeployCheckError: the new code does not answer."""
        self._expect()
        self._live = self._build_marked()
        self._sam.deploy(self._parameters)
        self._expect()
        return f"{_status(self._client)}, the new code answers"

    def refuse(self) -> str:
        """Deploy a template that names a resource it does not hold. :raises DeployCheckError: it has any effect."""
        before = _status(self._client)
        why = self._refusal(MISSING)
        self._expect()
        after = _status(self._client)
        if after != before or "NoSuchQueue" not in why:
            raise DeployCheckError(f"the stack is {after}, it was {before}: {why}")
        return f"refused, nothing was touched, the code from before answers ({why})"

    def roll_back(self) -> str:
        """Deploy new code together with a resource that cannot be made. :raises DeployCheckError: anything stays."""
        self._build_marked()
        self._refusal(IMPOSSIBLE)
        self._expect()
        status = _status(self._client)
        if status != "UPDATE_ROLLBACK_COMPLETE":
            raise DeployCheckError(f"the stack is {status}")
        return f"{status}, the code from before answers"

    def _build_marked(self) -> str:
        value = secrets.token_hex(4)
        self._source.write_text(self._original + MARKING.format(name=MARK, value=value))
        self._sam.build()
        return value

    def _refusal(self, resource: str) -> str:
        broken = with_resource(self._sam.built, resource, self._sam.built.with_name("broken.yaml"))
        try:
            self._sam.deploy(self._parameters, broken)
        except SamError as error:
            return str(error)
        raise DeployCheckError("a broken template was deployed as if it were whole")

    def _expect(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as http:
            answer = http.get(self._url, headers={"authorization": f"Bearer {self._token}"})
        if answer.status_code != httpx.codes.OK:
            raise DeployCheckError(f"the API answers HTTP {answer.status_code}: {answer.text[:200]}")
        found = answer.headers.get(MARK)
        if found != self._live:
            raise DeployCheckError(f"build {found} answers instead of {self._live}")


def _exchange_secrets(vault: Any, outputs: Mapping[str, str], key: Path) -> str:
    """Store the exchange key. :returns: the token that opens the HTTP API"""
    value = json.dumps({"key_id": KEY_ID, "private_key": key.read_text()})
    for secret in ("ReadKeySecret", "TradeKeySecret"):
        vault.put_secret_value(SecretId=outputs[secret], SecretString=value)
    secret = vault.get_secret_value(SecretId=outputs["ApiTokenSecret"])["SecretString"]
    return str(json.loads(secret)["token"])


def _status(client: Callable[[str], Any]) -> str:
    return str(client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"])


@contextlib.contextmanager
def _own_folder(parent: Path) -> Iterator[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="deploy-", dir=parent) as name:
        yield Path(name)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on standard output.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE_FOLDER,
    show_default=True,
    help="Where the temporary folder goes.",
)
def main(as_json: bool, folder: Path) -> None:
    """Deploy the project with the real SAM command line to the embedded AWS; exit 1 when a step fails."""
    began = time.monotonic()
    try:
        with _own_folder(folder.resolve()) as own:
            outcome = DeployCheck(own, sys.stderr).run()
    except KalshiArbError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    seconds = round(time.monotonic() - began, 1)
    click.echo(f"{'all steps passed' if outcome.ok else 'FAILED'} after {seconds:.0f} s", err=True)
    if as_json:
        click.echo(json.dumps({"ok": outcome.ok, "seconds": seconds, **asdict(outcome)}))
    raise SystemExit(0 if outcome.ok else 1)


if __name__ == "__main__":
    main()
