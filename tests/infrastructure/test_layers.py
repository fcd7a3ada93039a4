"""The layers: how large they are, what only one of them carries, and that nobody pays for it before it is needed."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.bench.startup import WORKS, environment, measure
from infra.checks.layers import LARGEST_LAYERS, size_of
from infra.checks.template import Template, referred

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = Template.read(ROOT / "template.yaml")
SOLVERS = ("numpy", "highspy", "pulp")
_PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;]+)", re.MULTILINE)
_OUTSIDE = {"linux": "linux/i64", "darwin": "osx/i64"}


def pinned(lock: Path) -> dict[str, str]:
    """Packages of a requirements file with their versions."""
    return dict(_PINNED.findall(lock.read_text()))


def installed(package: str) -> Iterator[tuple[Path, Path]]:
    """The files of an installed package: where they are, and where they belong in a folder of packages."""
    for file in importlib.metadata.distribution(package).files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            yield Path(str(file.locate())), Path(*file.parts)


@pytest.fixture(scope="module")
def solver_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the solver layer's Makefile leaves of the packages as they are installed here."""
    folder = tmp_path_factory.mktemp("layer")
    for package in pinned(ROOT / "infra" / "solver_layer" / "requirements.txt"):
        for source, place in installed(package):
            target = folder / "python" / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    make = shutil.which("make")
    assert make is not None
    subprocess.run(
        [make, "--silent", "--directory", str(ROOT / "infra" / "solver_layer"), "prune", f"ARTIFACTS_DIR={folder}",
         f"CBC={_OUTSIDE[sys.platform]}"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "python"


def test_the_base_layer_is_small_enough() -> None:
    packages = pinned(ROOT / "shared" / "requirements.txt")
    size = sum(source.stat().st_size for name in packages for source, _ in installed(name)) / 2**20
    own = sum(path.stat().st_size for path in (ROOT / "shared" / "kalshi_arb").rglob("*.py")) / 2**20
    assert 20 < size + own <= LARGEST_LAYERS["SharedLayer"]


def test_the_solver_layer_is_small_enough(solver_layer: Path) -> None:
    assert 20 < size_of(solver_layer) <= LARGEST_LAYERS["SolverLayer"]


def test_the_solver_layer_has_one_cbc_and_it_solves(solver_layer: Path) -> None:
    assert [path.parent.name for path in solver_layer.rglob("cbc") if path.is_file()] == ["i64"]
    program = (
        "import highspy, numpy, pulp\n"
        f"assert all(m.__file__.startswith({str(solver_layer)!r}) for m in (highspy, numpy, pulp))\n"
        "from kalshi_arb.detection.allocate import Claim, Method, allocate\n"
        "claims = [Claim(str(n), str(n), n, {'cash': 1}) for n in (1, 2)]\n"
        "plan = allocate(claims, {'cash': 1}, seconds=10)\n"
        "assert plan.chosen == ('2',) and plan.method is Method.EXACT, plan\n"
        "model = highspy.Highs(); model.silent()\n"
        "x = model.addVariable(lb=0, ub=4, obj=1.0)\n"
        "model.maximize(x)\n"
        "assert model.getObjectiveValue() == 4.0\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(solver_layer), str(ROOT / "shared")))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_locked_solver_is_the_one_that_is_tested() -> None:
    layer = pinned(ROOT / "infra" / "solver_layer" / "requirements.txt")
    assert set(layer) == set(SOLVERS)
    if sys.version_info >= (3, 13):
        assert layer == {name: importlib.metadata.version(name) for name in SOLVERS}


def test_detection_alone_has_the_solvers() -> None:
    layers = {
        name: [referred(one) for one in function.get("Layers", ())]
        for name, function in TEMPLATE.of_type("AWS::Serverless::Function")
    }
    assert {name for name, own in layers.items() if "SolverLayer" in own} == {"DetectionFunction"}
    assert TEMPLATE.body["Globals"]["Function"]["Layers"] == [{"Ref": "SharedLayer"}]


def test_detection_starts_without_the_solvers() -> None:
    """A fresh process has loaded the handler and built its use case, and none of the solvers."""
    program = (
        f"{WORKS['handler and use case']}\n"
        "import sys\n"
        f"assert not {set(SOLVERS)!r} & set(sys.modules), sorted(sys.modules)\n"
        "assert 'kalshi_arb.detection.allocate' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_start_is_measured_with_what_it_leaves_out() -> None:
    milliseconds, modules = measure(WORKS["handler"])
    assert milliseconds > 0
    assert modules > 100
