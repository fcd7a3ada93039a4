"""The exchange's memory on disk: one file of checked lines, in a folder that one process at a time may use.

Line 1 names the format, line 2 is a snapshot of everything, every further line is one thing that happened after it
(:mod:`infra.exchange.inputs`). A new snapshot begins a new file, which takes the old one's place in one rename: at
every moment exactly one complete file is there, and it cannot grow for ever. A line starts with a CRC-32 over itself
and all lines before it, so a line that is damaged, missing or moved is found.

Lines reach the operating system before anybody is answered: they survive the death of the process at any point, not
the loss of power. What follows the last line feed is a line whose writer died; nobody was answered for it, so it is
dropped. Anything else that does not fit is damage: it is named, and the file stays as it is.
"""

import errno
import fcntl
import logging
import os
import time
import zlib
from io import FileIO
from pathlib import Path
from typing import IO

import msgspec

from infra.exchange.errors import ExchangeStartError

log = logging.getLogger(__name__)

FORMAT = 2
"""Raise it whenever a snapshot or an input changes its shape."""

FILE_NAME = "exchange.journal"
_LOCK_NAME = "lock"
_LOCK_SECONDS = 5.0  # a predecessor that was told to stop may still be at it
_WHAT = "kalshi-arb embedded exchange"
_CHECK = 9  # eight hexadecimal digits and a space


class _Title(msgspec.Struct, frozen=True):
    journal: str
    format: int


class Journal:
    """The journal of one folder, locked until :meth:`close` or the end of the process.

    :raises ExchangeStartError: the folder cannot be used, or another exchange is using it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self.lines = 0  # appended since the snapshot
        self._check = 0
        self._file: FileIO | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / _LOCK_NAME).open("wb")
        except OSError as error:
            raise ExchangeStartError(f"cannot keep state in {folder}: {error.strerror}") from error
        if not _locked(self._lock):
            self._lock.close()
            raise ExchangeStartError(f"another exchange is using {folder}; stop it, or choose another folder")

    @property
    def is_open(self) -> bool:
        """Whether a snapshot was begun and lines can follow."""
        return self._file is not None

    def read(self) -> list[bytes]:
        """The snapshot and everything after it; empty when nothing was ever kept here. Changes nothing.

        :raises ExchangeStartError: the file is damaged, or of a format that this program does not know.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ExchangeStartError(f"cannot read {self.path}: {error.strerror}") from error
        complete, feed, torn = data.rpartition(b"\n")
        payloads: list[bytes] = []
        check = 0
        for number, line in enumerate(complete.split(b"\n") if feed else [], start=1):
            payload = line[_CHECK:]
            check = zlib.crc32(payload, check)
            if line[:_CHECK] != b"%08x " % check:
                raise self.unusable(f"is damaged in line {number}")
            if number == 1:
                self._check_title(payload)
            else:
                payloads.append(payload)
        if not payloads:
            raise self.unusable("is cut short: its snapshot is not complete")
        if torn:
            log.warning("dropped %d bytes of a half-written last line of %s: never answered", len(torn), self.path)
        return payloads

    def unusable(self, why: str) -> ExchangeStartError:
        """The error that says what to do about a file that cannot be gone on with."""
        return ExchangeStartError(
            f"the exchange's state {self.path} {why}; nothing was changed: "
            "move the folder away to keep it, or start anew with --fresh"
        )

    def begin(self, snapshot: bytes) -> None:
        """Replace the file by one that holds only this snapshot. :raises OSError: the old file is still there."""
        title = msgspec.json.encode(_Title(_WHAT, FORMAT))
        new = self.path.with_suffix(".new")
        self._close_file()
        self._check = 0
        file = FileIO(new, "wb")
        try:
            _write(file, self._framed(title) + self._framed(snapshot))
            new.replace(self.path)
        except OSError:
            file.close()
            raise
        self._file = file
        self.lines = 0

    def append(self, payload: bytes) -> None:
        """Add one line; when this returns it outlives the process. :raises OSError: it could not be written."""
        if self._file is None:
            raise OSError(errno.EBADF, "the journal is closed", str(self.path))
        _write(self._file, self._framed(payload))
        self.lines += 1

    def close(self) -> None:
        """Let go of file and folder. Closing twice does nothing."""
        self._close_file()
        self._lock.close()

    def _framed(self, payload: bytes) -> bytes:
        self._check = zlib.crc32(payload, self._check)
        return b"%08x %b\n" % (self._check, payload)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _check_title(self, payload: bytes) -> None:
        try:
            title = msgspec.json.decode(payload, type=_Title)
        except msgspec.DecodeError as error:
            raise self.unusable("is no journal of an exchange") from error
        if title.journal != _WHAT:
            raise self.unusable("is no journal of an exchange")
        if title.format != FORMAT:
            raise self.unusable(f"has format {title.format} and this program knows format {FORMAT} only")


def _locked(file: IO[bytes]) -> bool:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _write(file: FileIO, data: bytes) -> None:
    """Write all or raise: a disk that fills up takes only a part."""
    if file.write(data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
