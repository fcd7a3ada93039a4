"""Local files that a template names become objects in a bucket of the embedded AWS, byte for byte repeatable."""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from samtranslator.yaml_helper import yaml, yaml_parse

from infra.local.errors import TemplateError

ARTIFACTS_BUCKET = "kalshi-arb-local-artifacts"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip file can say: the archive depends on content alone
_SKIPPED_FOLDERS = {"__pycache__", ".venv", ".git"}
_SKIPPED_SUFFIXES = {".pyc", ".pyo"}


class Reference(NamedTuple):
    """A property that may hold a local path, and the names its S3 form uses."""

    resource: str
    property: str
    folder: bool
    bucket: str
    key: str


REFERENCES = (
    Reference("AWS::Serverless::Function", "CodeUri", True, "Bucket", "Key"),
    Reference("AWS::Serverless::LayerVersion", "ContentUri", True, "Bucket", "Key"),
    Reference("AWS::Serverless::StateMachine", "DefinitionUri", False, "Bucket", "Key"),
    Reference("AWS::Lambda::Function", "Code", True, "S3Bucket", "S3Key"),
    Reference("AWS::Lambda::LayerVersion", "Content", True, "S3Bucket", "S3Key"),
    Reference("AWS::StepFunctions::StateMachine", "DefinitionS3Location", False, "Bucket", "Key"),
)


def read_template(path: Path) -> dict[str, Any]:
    """Parse a template with its short-form intrinsics. :raises TemplateError: it cannot be read or is no template."""
    try:
        text = path.read_text()
    except OSError as error:
        raise TemplateError(f"the template cannot be read: {error}") from error
    return parse_template(text, str(path))


def parse_template(text: str, name: str) -> dict[str, Any]:
    """Parse a template's text; ``name`` is for messages. :raises TemplateError: it is no template."""
    try:
        template = yaml_parse(text)
    except yaml.YAMLError as error:
        raise TemplateError(f"{name} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
        raise TemplateError(f"{name} has no Resources")
    return template


def zip_folder(folder: Path, prefix: str = "") -> bytes:
    """The folder as an archive whose bytes depend on names and contents alone.

    :param prefix: where the content goes inside the archive, such as ``python/``
    :raises TemplateError: there is no such folder, or nothing in it
    """
    if not folder.is_dir():
        raise TemplateError(f"the template names the folder {folder}, which is not there")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_files(folder)):
            entry = zipfile.ZipInfo(prefix + path.relative_to(folder).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
        if not archive.namelist():
            raise TemplateError(f"the template names the folder {folder}, which is empty")
    return buffer.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        skipped = _SKIPPED_FOLDERS.intersection(relative.parts) or path.suffix in _SKIPPED_SUFFIXES
        if path.is_file() and not skipped:
            yield path


def inline_includes(node: Any, base: Path) -> Any:
    """Put the content of every ``AWS::Include`` of a local file in its place. :raises TemplateError: no such file."""
    if isinstance(node, list):
        return [inline_includes(item, base) for item in node]
    if not isinstance(node, dict):
        return node
    transform = node.get("Fn::Transform")
    if isinstance(transform, dict) and transform.get("Name") == "AWS::Include":
        location = base / str(transform["Parameters"]["Location"])
        if not location.is_file():
            raise TemplateError(f"the template includes {location}, which is not there")
        return inline_includes(yaml_parse(location.read_text()), base)
    return {key: inline_includes(value, base) for key, value in node.items()}


class Packager:
    """Uploads what a template names. One object per content, whatever names it."""

    def __init__(self, s3: Any, base: Path) -> None:
        """Paths in the template are relative to ``base``."""
        self._s3 = s3
        self._base = base
        self._have_bucket = False

    def package(self, template: Mapping[str, Any]) -> dict[str, Any]:
        """The template with every local path replaced. :raises TemplateError: a path leads nowhere."""
        packaged: dict[str, Any] = inline_includes(template, self._base)
        for logical_id, resource in packaged["Resources"].items():
            self._package_resource(logical_id, resource)
        return packaged

    def _package_resource(self, logical_id: str, resource: dict[str, Any]) -> None:
        properties = resource.get("Properties") or {}
        if resource["Type"] in ("AWS::CloudFormation::Stack", "AWS::Serverless::Application"):
            raise TemplateError(f"{logical_id}: nested stacks are not packaged here")
        for reference in REFERENCES:
            value = properties.get(reference.property)
            if resource["Type"] != reference.resource or not isinstance(value, str) or value.startswith("s3://"):
                continue
            path = self._base / value
            if reference.folder:
                key = self.put(zip_folder(path, self._prefix(resource)), ".zip")
            else:
                if not path.is_file():
                    raise TemplateError(f"{logical_id} names the file {path}, which is not there")
                key = self.put(path.read_bytes(), path.suffix)
            properties[reference.property] = {reference.bucket: ARTIFACTS_BUCKET, reference.key: key}

    @staticmethod
    def _prefix(resource: Mapping[str, Any]) -> str:
        """What ``sam build`` does to a layer with a build method: its sources go below ``python/``."""
        method = str((resource.get("Metadata") or {}).get("BuildMethod", ""))
        return "python/" if method.startswith("python") else ""

    def put(self, content: bytes, suffix: str) -> str:
        """Store content under its own hash. :returns: the object's key in :data:`ARTIFACTS_BUCKET`"""
        if not self._have_bucket:
            self._s3.create_bucket(Bucket=ARTIFACTS_BUCKET)
            self._have_bucket = True
        key = hashlib.sha256(content).hexdigest() + suffix
        self._s3.put_object(Bucket=ARTIFACTS_BUCKET, Key=key, Body=content)
        return key
