"""The rules that keep the tree readable and safe, checked on the source itself."""

import ast
import re
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LAYERS = ["configs", "learner", "workers", "cluster", "service", "ray_job"]
ROOMS = {"run": 0, "report": 1, "bench": 1, "campaigns": 1, "http": 2, "page": 3, "commands": 4}
"""Rooms of service/ by their height: each imports from lower ones and from itself."""
PURE = ["tensors", "distribution", "rewards", "advantages", "losses"]
SECTIONS = {
    "learner": {"algorithms", "decoding", "errors", "policy", "sft"},
    "workers": {
        "classifiers",
        "data",
        "decoding",
        "errors",
        "evaluation",
        "grouping",
        "policy",
        "reward_parts",
        "rewards",
        "rollout",
    },  # fmt: skip,
}
"""Modules of configs/ that a layer may import: its own sections."""
WHOLE_CONFIG = (
    "configs/", "cluster/", "service/commands/",
    "service/run/folder.py", "service/run/start_record.py", "service/run/trackers.py",  # record it
    "service/run/held_out_summaries.py", "service/report/report.py",  # take from it what results depend on
    "service/run/startup.py", "service/bench/",  # start runs
    "service/http/openapi.py", "service/http/runs/",  # describe it, make it of requests
)  # fmt: skip
"""Where the whole config may reach; all else gets the sections and numbers that it needs."""
RAY = {
    "cluster/jobs.py", "cluster/ray_cluster.py", "cluster/sft.py", "cluster/upload.py", "cluster/pools/calls.py",
    "cluster/pools/dispatcher.py", "cluster/pools/failures.py", "cluster/pools/ray_pools.py",
    "cluster/pools/worker.py", "cluster/pools/worker_group.py", "cluster/serving/apps.py",
    "cluster/serving/client.py", "cluster/serving/deployment.py", "cluster/serving/replicas.py",
}  # fmt: skip
FILE_LINES, FUNCTION_LINES = 235, 40
ASSETS = ["quickstart", "examples"]
SOURCES = [*sorted(p for layer in [*LAYERS, *ASSETS] for p in ROOT.glob(f"{layer}/**/*.py")), ROOT / "ray_job.py"]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def files_imported(path: Path) -> set[Path]:
    """The project's own files that a file imports."""
    found = set()
    for name in imported(path):
        parts = name.split(".")
        for end in (len(parts), len(parts) - 1):
            file = ROOT.joinpath(*parts[:end]).with_suffix(".py")
            package = ROOT.joinpath(*parts[:end]) / "__init__.py"
            if file in SOURCES or package in SOURCES:
                found.add(file if file in SOURCES else package)
                break
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_go_one_way(path):
    layer = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if layer in ASSETS:
        assert not packages(path) & set(LAYERS), "the assets are made without the project's own code"
        assert layer == "examples" or "examples" not in packages(path)
    else:
        assert not packages(path) & set(LAYERS[LAYERS.index(layer) + 1 :])


def test_no_files_import_each_other_in_a_cycle():
    """Imports inside functions count: they hide a cycle, they do not remove it."""
    try:
        TopologicalSorter({path: files_imported(path) for path in SOURCES}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(map(name_of, error.args[1])))


@pytest.mark.parametrize("path", sorted((ROOT / "service").glob("**/*.py")), ids=name_of)
def test_every_module_of_the_service_is_in_a_room_and_imports_lower_rooms_only(path):
    _, *rooms, _ = path.relative_to(ROOT).parts
    if not rooms:
        assert path.name == "__init__.py"
        return
    used = {name.split(".")[1] for name in imported(path) if name.startswith("service.")}
    assert all(room == rooms[0] or ROOMS[room] < ROOMS[rooms[0]] for room in used), used


def test_only_cluster_imports_ray_and_only_service_fastapi():
    assert {name_of(p) for p in SOURCES if "ray" in packages(p)} == RAY
    assert all(p.is_relative_to(ROOT / "service") for p in SOURCES if "fastapi" in packages(p))


@pytest.mark.parametrize("layer", SECTIONS)
def test_learner_and_workers_know_their_own_sections_only(layer):
    for path in ROOT.glob(f"{layer}/**/*.py"):
        used = {name.split(".")[1] for name in imported(path) if name.startswith("configs.")}
        assert used <= SECTIONS[layer], name_of(path)


def test_the_whole_config_reaches_only_what_is_listed():
    for path in SOURCES:
        if any(name.startswith("configs.schema.") for name in imported(path)):
            assert name_of(path).startswith(WHOLE_CONFIG), name_of(path)


@pytest.mark.parametrize("name", PURE)
def test_pure_maths_imports_torch_and_each_other_only(name):
    allowed = {"torch", "typing", *(f"learner.{pure}" for pure in PURE)}
    for module in imported(ROOT / "learner" / f"{name}.py"):
        assert any(module == a or module.startswith(f"{a}.") for a in allowed), module


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_LINES
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < FUNCTION_LINES, node.name


def test_nothing_is_loaded_that_could_run_code():
    banned = r"\bpickle\b|torch\.load\(|trust_remote_code|(?<![\w.])eval\(|(?<![\w.])exec\(|shell=True"
    for path in SOURCES:
        assert not re.search(banned, path.read_text(encoding="utf-8")), path


def test_no_module_shadows_the_standard_library_and_none_is_called_utils():
    roots = {p.stem for p in ROOT.glob("*.py")} | {p.parent.name for p in ROOT.glob("*/*.py")}
    assert not roots & sys.stdlib_module_names
    assert not [p for p in SOURCES if p.stem == "utils"]


def test_lock_holds_the_upper_end_of_every_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [Requirement(line) for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()[1:]]
    lock = {canonicalize_name(line.name): Version(next(iter(line.specifier)).version) for line in lines}
    extras = project["optional-dependencies"]
    for asked in map(Requirement, [*project["dependencies"], *extras["service"], *extras["dev"]]):
        locked = lock[canonicalize_name(asked.name)]
        assert locked in asked.specifier, asked
        assert Version(f"{locked.major}.{locked.minor + 1}") not in asked.specifier, f"{asked}: {locked} was tested"
