"""The embedded exchange as a command of its own: its key pair, and what it prints for a person and for a machine."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from infra.exchange.command import exchange
from infra.exchange.errors import ExchangeStartError
from kalshi_arb.clock import SystemClock
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.kalshi.trading import KalshiTrading

QUIET = ("--events", "2", "--deltas-per-second", "1")


@contextmanager
def command(state: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "XDG_STATE_HOME": str(state)}
    with subprocess.Popen(
        [sys.executable, "-m", "infra.exchange", *QUIET, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def first_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def cash(url: str, key_file: Path) -> int:
    client = RestClient(
        base_url=url, credentials=Credentials("embedded-exchange-key", key_file.read_text()), clock=SystemClock()
    )
    try:
        return sum(KalshiTrading(client).balance().values())
    finally:
        client.close()


def test_a_person_is_told_where_it_is_and_whose_key_opens_it(tmp_path: Path) -> None:
    key_file = tmp_path / "kalshi-arb" / "exchange" / "key.pem"
    with command(tmp_path, "--cash", "500.50") as process:
        said = first_lines(process, 6)
        facts = {line[:7].strip(): line[8:] for line in said[1:]}
        assert said[0] == "the embedded exchange is ready; Ctrl-C ends it"
        assert facts["stream"] == facts["REST"].replace("http", "ws").replace("/v2", "/ws/v2")
        assert facts["key id"] == "embedded-exchange-key"
        assert facts["key"].startswith(str(key_file))
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        assert cash(facts["REST"], key_file) == 500_500_000
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_the_key_of_a_folder_is_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    made = []
    for _ in range(2):
        with command(tmp_path, "--json", "--key-folder", str(folder)) as process:
            (line,) = first_lines(process, 1)
            assert cash(json.loads(line)["rest_url"], folder / "key.pem") == 10_000_000_000
            made.append((folder / "key.pem").read_bytes())
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
        assert process.returncode == 0
    assert made[0] == made[1]
    assert not (tmp_path / "kalshi-arb").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("--key-folder", "{}"), ExchangeStartError, "key.pem is no private key: remove it and a new one is made"),
        (("--key-folder", "{}/key.pem"), click.UsageError, "is a file"),
        (("--public-key-file", "{}/none.pub"), ExchangeStartError, "cannot read {}/none.pub: No such file"),
        (
            ("--public-key-file", "{}/none.pub", "--key-folder", "{}"),
            click.UsageError,
            "--key-folder is for the pair that is made without --public-key-file",
        ),
        (("--cash", "much"), click.UsageError, "much is no dollar amount"),
        (("--cash", "0.00001"), click.UsageError, "cash must be positive, in steps of 0.0001 dollars"),
        (("--event-life-ms", "long"), click.UsageError, "long is no range of whole numbers such as 200:400"),
        (("some.jsonl",), click.UsageError, "unexpected argument some.jsonl: only --tape takes files"),
        (("--tier", "gold"), click.UsageError, "'gold' is not one of"),
    ],
)
def test_what_prevents_a_start_is_one_clear_line(
    tmp_path: Path, arguments: tuple[str, ...], error: type[Exception], says: str
) -> None:
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(error) as caught:
        exchange([argument.format(tmp_path) for argument in arguments], standalone_mode=False)
    assert says.format(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
