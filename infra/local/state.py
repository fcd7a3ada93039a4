"""What a run's folder holds from earlier runs, and whether it may be continued.

``exchange/`` and ``cloud/journal/`` are one state in two parts: cash and orders in the one, baskets and ledger in the
other. One without the other is worth nothing, so they begin together, are continued together and go together. The file
``state.json`` says how far that has come, and is only ever replaced whole.
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from infra.local.errors import StateError

VERSION = 2
Choice = int | str
_CACHE = "handlers"  # unpacked code by the hash of its archive: no state, and dear to unpack and compile again


class Phase(StrEnum):
    """How far a state has come. Whatever was written before ``begun`` is worth nothing: no order was possible yet."""

    CLEARING = "clearing"
    STARTING = "starting"
    BEGUN = "begun"


@dataclass(frozen=True, slots=True)
class Life:
    """What stays the same as long as a state lives."""

    choices: Mapping[str, Choice]  # options that shaped it, by name
    api_token: str
    continued: bool


class StateFolder:
    """The state below one folder. Only the holder of the folder's lock may use it."""

    def __init__(self, folder: Path) -> None:
        """Describe it; nothing is touched."""
        self.exchange = folder / "exchange"
        self.cloud = folder / "cloud"
        self.journal = self.cloud / "journal"
        self._file = folder / "state.json"
        self._content: dict[str, Any] = {}

    def open(
        self,
        wanted: Mapping[str, Choice | None],
        defaults: Mapping[str, Choice],
        *,
        fresh: bool,
        say: Callable[[str], None],
    ) -> Life:
        """Continue the state that is there, or begin one.

        :param wanted: what the person asked for by option name, None for what they left open
        :param fresh: remove what is there first
        :param say: told in one line each: an option that the state overrules
        :raises StateError: what is there cannot be continued; it was not touched
        """
        self._content = {} if fresh else self._read()
        if self._content.get("phase") == Phase.BEGUN:
            self._check_whole()
            life = Life(self._content["choices"], self._content["api_token"], continued=True)
            for name, value in wanted.items():
                kept = life.choices.get(name)
                if value is not None and value != kept:
                    say(f"--{name} {value} is not used: the state goes on with {kept}; --fresh starts anew")
            _remove(self.cloud / "tmp")
            return life
        self._save(phase=Phase.CLEARING, choices={}, api_token="")
        _remove(self.exchange)
        for path in self.cloud.iterdir() if self.cloud.exists() else ():
            if path.name != _CACHE:
                _remove(path)
        choices = {name: defaults[name] if value is None else value for name, value in wanted.items()}
        life = Life(choices, secrets.token_urlsafe(36), continued=False)
        self._save(phase=Phase.STARTING, choices=choices, api_token=life.api_token)
        return life

    def begun(self) -> None:
        """Exchange and cloud are up with this state: from now on it counts. Called before anything can trade."""
        self._save(**{**self._content, "phase": Phase.BEGUN})

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._file.read_text())
            version = content["version"]
            content = {"phase": Phase(content["phase"]), **{n: content[n] for n in ("choices", "api_token")}}
        except FileNotFoundError:
            if self.journal.exists() or self.exchange.exists():
                raise StateError(f"{self._file} is missing beside a state: start anew with --fresh") from None
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"{self._file} is damaged: start anew with --fresh") from error
        if version != VERSION:
            raise StateError(f"{self._file} is of version {version}, not {VERSION}: start anew with --fresh")
        return content

    def _check_whole(self) -> None:
        for path, what in ((self.exchange, "the exchange's state"), (self.journal, "the tables' journal")):
            if not path.is_dir() or not any(path.iterdir()):
                raise StateError(f"{path}: {what} is gone, the other half is still there: start anew with --fresh")

    def _save(self, **content: Any) -> None:
        self._content = content
        draft = self._file.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"version": VERSION, **content}, file)
        draft.replace(self._file)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
