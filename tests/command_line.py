"""The command line without a process of its own: what it says, and the exit code that it asks for."""

import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from unittest.mock import patch

import pytest

from kalshi_arb.cli.main import main


@dataclass(frozen=True)
class Said:
    """As of a process that has ended."""

    returncode: int
    stdout: str
    stderr: str


def kalshi_arb(*arguments: str, **environment: str) -> Said:
    """Run a command that ends before it starts anything. What it raises by mistake is raised here."""
    out, err = StringIO(), StringIO()
    with (
        patch.object(sys, "argv", ["kalshi-arb", *arguments]),
        patch.dict(os.environ, environment),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return Said(int(str(ended.value.code)), out.getvalue(), err.getvalue())
