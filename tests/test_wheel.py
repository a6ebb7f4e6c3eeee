"""The project as a wheel: what lies in it, and that it runs from a folder that holds nothing of the project."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import ray_job
from service.commands import launch
from service.commands.serve import EXTRA
from tests.conftest import ROOT, small_arguments

PACKAGES = ("configs", "learner", "workers", "cluster", "service", "quickstart", "examples")
ASSETS = ("configs/*.yaml", "quickstart/*.yaml", "quickstart/*/*", "examples/*/*/*", "service/http/grafana.json",
          "service/report/templates/*.html", "service/page/templates/*.html", "service/page/static/*")  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built without a network, by what is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory) -> Path:
    """`seqrlhf` of a virtual environment that has the wheel, and beside it what is installed here."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    packages = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (packages / "those_of_the_tests.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    pip("--python", folder / "bin/python", "install", wheel)
    return folder / "bin/seqrlhf"


def pip(*arguments):
    words = [sys.executable, "-m", "pip", *map(str, arguments), "--no-deps", "--no-index"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def run(command, folder, *arguments):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([command, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def test_all_in_it_lies_under_one_name_and_nothing_is_missing(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"seqrlhf"}
    assert not [name for name in names if "/tests/" in name or "/docs/" in name]
    patterns = [*ASSETS, *(f"{name}/**/*.py" for name in PACKAGES)]
    needed = [ROOT / "ray_job.py", *(path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file())]
    missing = {f"seqrlhf/{path.relative_to(ROOT)}" for path in needed if "__pycache__" not in path.parts} - names
    assert not missing


@pytest.mark.slow
def test_it_trains_from_an_empty_folder_with_a_reward_that_lies_there(command, tmp_path):
    (tmp_path / "my_rewards.py").write_text(
        "def polite(completions, **columns):\n    return [0.0] * len(completions)\n"
    )
    part = '{"type": "function", "function": "my_rewards:polite"}'
    small = small_arguments(steps=1, evaluation__rows=2, evaluation__samples=1, out="run")
    done = run(command, tmp_path, "train", *small, "--reward.parts.polite", part)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "run" and (tmp_path / "run/report.html").is_file()
    assert "seqrlhf/quickstart/policy" in (tmp_path / "run/config.yaml").read_text()


def test_help_names_the_command(command, tmp_path):
    done = run(command, tmp_path, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: seqrlhf ")


def test_a_folder_with_packages_of_the_same_names_is_refused(tmp_path, monkeypatch, capsys):
    """Ray's workers look into the current folder first: they would run another code than the driver."""
    (tmp_path / "workers").mkdir()  # a folder alone is none
    assert not launch.shadows(tmp_path)
    (tmp_path / "configs.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        launch.main()
    assert caught.value.code == 2 and "configs in this folder" in capsys.readouterr().err


@pytest.mark.slow
def test_the_other_commands_do_without_the_service_extra():
    modules = [f"service.commands.{path.stem}" for path in (ROOT / "service/commands").glob("[a-z]*.py")]
    modules += ["service.http.keys", "service.report.page", "cluster.sft", "cluster.pools.ray_pools"]
    absent = dict.fromkeys([*EXTRA, "starlette", "ray.serve"])
    code = f"import sys; sys.modules.update({absent}); import {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_serve_says_how_its_packages_are_installed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    assert ray_job.main(["serve"]) == 2
    told = 'error: serve: not installed: python_multipart; install them with: pip install "seqrlhf[service]"\n'
    assert capsys.readouterr().err == told
