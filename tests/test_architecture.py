"""Rules that keep the source tree readable and safe, checked on the source itself."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LAYERS = ["configs", "learner", "workers", "cluster", "service", "ray_job"]
PURE = ["tensors", "rewards", "advantages", "losses"]
SOURCES = [*sorted(p for layer in [*LAYERS, "quickstart"] for p in ROOT.glob(f"{layer}/**/*.py")), ROOT / "ray_job.py"]


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, at any place in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    layer = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if layer == "quickstart":
        assert not packages(path) & set(LAYERS), "the assets are made without the project's own code"
    else:
        assert not packages(path) & set(LAYERS[LAYERS.index(layer) + 1 :])


def test_only_cluster_imports_ray_and_only_service_fastapi():
    importing = {p.name for p in SOURCES if "ray" in packages(p)}
    assert importing == set(
        "calls.py worker_group.py dispatcher.py jobs.py ray_pools.py replicas.py models.py sft.py upload.py".split()
    )
    assert all(p.is_relative_to(ROOT / "service") for p in SOURCES if "fastapi" in packages(p))


@pytest.mark.parametrize("name", PURE)
def test_pure_maths_imports_torch_and_each_other_only(name):
    allowed = {"torch", "typing", *(f"learner.{pure}" for pure in PURE)}
    for module in imported(ROOT / "learner" / f"{name}.py"):
        assert any(module == a or module.startswith(f"{a}.") for a in allowed), module


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
