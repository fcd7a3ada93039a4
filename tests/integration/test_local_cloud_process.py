"""The embedded AWS as a process: loopback only, nothing of the person's own, nothing left behind however it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from infra.local import cloud as cloud_module
from infra.local.cloud import EmbeddedCloud, open_sockets
from infra.local.emulator import VERSION, patch
from infra.local.endpoint import cloud_environment, local_client, require_loopback
from infra.local.errors import EndpointError, SeamError, StartError
from infra.local.options import EmulatorOptions
from infra.local.seams import Seam, installed_version
from tests.integration.local_cloud_support import deployed, wait_for

ROOT = Path(__file__).resolve().parents[2]


def alive(pids: list[int]) -> list[int]:
    """Those that still run; an ended process nobody waited for does not."""
    running = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                running.append(pid)
        except psutil.NoSuchProcess:
            continue
    return running


@pytest.mark.parametrize(
    "url",
    [
        "https://dynamodb.us-east-1.amazonaws.com",
        "http://dynamodb.us-east-1.amazonaws.com",
        "https://127.0.0.1:4566",
        "http://0.0.0.0:4566",
        "http://127.0.0.1.example.org",
        "http://user@127.0.0.1:1",
        "http://10.0.0.1:4566",
        "127.0.0.1:4566",
        "",
    ],
)
def test_an_address_that_is_not_loopback_is_refused(url: str) -> None:
    with pytest.raises(EndpointError):
        require_loopback(url)
    with pytest.raises(EndpointError):
        local_client("sqs", url)
    with pytest.raises(EndpointError):
        cloud_environment(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "http://127.9.9.9:1"])
def test_a_loopback_address_is_taken(url: str) -> None:
    assert require_loopback(url) == url


def test_a_client_knows_nothing_of_the_persons_own_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile mine]\nregion = eu-west-1\nendpoint_url = https://example.org\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREALREALREALREAL")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org:3128")
    client = local_client("sqs", "http://127.0.0.1:1")
    assert client.meta.region_name == "us-east-1"
    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    assert client._request_signer._credentials.access_key == "test"
    assert client.meta.config.proxies == {}
    client.close()


def test_it_listens_on_loopback_only_and_a_stop_leaves_no_process(tmp_path: Path) -> None:
    with deployed(tmp_path) as running:
        running.call({})
        running.cloud.check_sockets()
        sockets = open_sockets(psutil.Process(running.cloud.pid))
        assert {address for address, _ in sockets} == {"127.0.0.1"}
        tree = [running.cloud.pid, *(item.pid for item in psutil.Process(running.cloud.pid).children(recursive=True))]
        assert len(tree) == 3  # emulator, handler host, one environment
        running.cloud.stop()
        assert alive(tree) == []
        assert not running.cloud.is_alive()
        running.cloud.stop()


def test_an_open_socket_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_module, "open_sockets", lambda _: [("127.0.0.1", 1), ("10.0.0.1", 8883)])
    cloud = EmbeddedCloud(state_dir=tmp_path / "state", log_file=tmp_path / "log")
    with pytest.raises(EndpointError, match=r"10\.0\.0\.1:8883"):
        cloud.start()
    assert not cloud.is_alive()


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cloud = EmbeddedCloud(state_dir=tmp_path / "state", log_file=tmp_path / "log", port=taken.getsockname()[1])
        with pytest.raises(StartError, match=r"Address already in use.*choose another port"):
            cloud.start()
    assert not cloud.is_alive()


def test_its_environment_holds_nothing_of_the_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.org:3128")
    with EmbeddedCloud(state_dir=tmp_path / "state", log_file=tmp_path / "log") as cloud:
        environment = psutil.Process(cloud.pid).environ()
    assert not {"AWS_PROFILE", "HTTPS_PROXY"} & set(environment)
    assert environment["BIND_HOST"] == "127.0.0.1"
    assert environment["IOT_MTLS_ENABLED"] == environment["SFTP_ENABLED"] == "0"


PARENT = """
import json, sys, time
from pathlib import Path
import psutil
from tests.integration.local_cloud_support import deployed
with deployed(Path(sys.argv[1])) as running:
    running.call({})
    tree = psutil.Process(running.cloud.pid).children(recursive=True)
    print(json.dumps([running.cloud.pid, *(item.pid for item in tree)]), flush=True)
    running.call({"do": "sleep", "seconds": 2.9, "sign": str(Path(sys.argv[1]) / "busy")})
    time.sleep(60)
"""


def test_killing_the_parent_leaves_no_process_not_even_a_busy_handler(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        tree = json.loads(parent.stdout.readline())
        assert len(tree) == 3
        wait_for((tmp_path / "busy").exists)
        parent.kill()
    wait_for(lambda: not alive(tree))


def test_killing_the_emulator_ends_its_handlers(tmp_path: Path) -> None:
    with deployed(tmp_path) as running:
        running.call({})
        tree = [item.pid for item in psutil.Process(running.cloud.pid).children(recursive=True)]
        assert len(tree) == 2
        os.kill(running.cloud.pid, signal.SIGKILL)
        wait_for(lambda: not alive(tree))
        wait_for(lambda: not running.cloud.is_alive())


def test_a_killed_handler_host_is_replaced(tmp_path: Path) -> None:
    with deployed(tmp_path) as running:
        first = running.call({}).payload["pid"]
        (host,) = psutil.Process(running.cloud.pid).children()
        host.kill()
        wait_for(lambda: not alive([host.pid]))
        answers = [running.call({}) for _ in range(2)]
        assert answers[-1].payload["pid"] != first


def test_the_installed_version_is_the_one_the_patches_fit() -> None:
    assert installed_version() == VERSION


def test_another_version_is_refused_before_anything_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.emulator.installed_version", lambda: "9.9.9")
    with pytest.raises(SeamError, match=r"9\.9\.9 is installed; the patches fit 1\.5\.33"):
        patch(EmulatorOptions(), tmp_path)


@pytest.mark.parametrize(
    ("seam", "told"),
    [
        (Seam("services.no_such_service", "x"), "cannot be imported"),
        (Seam("core.lambda_runtime", "_no_such_name"), "it is not there"),
        (Seam("core.lambda_runtime", "_workers"), "not a function"),
        (Seam("core.lambda_runtime", "release_worker"), r"takes \(worker\), expected \(func\)"),
    ],
)
def test_a_seam_of_another_shape_is_named_with_the_version(seam: Seam, told: str) -> None:
    with pytest.raises(SeamError, match=told) as raised:
        seam.function(["func"])
    assert seam.place in str(raised.value)
    assert VERSION in str(raised.value)


def test_options_survive_the_way_through_the_environment() -> None:
    options = EmulatorOptions(workers_per_function=3, slot_wait=0.5)
    assert EmulatorOptions.from_environment(options.to_environment()) == options
    assert EmulatorOptions.from_environment({}) == EmulatorOptions()
