"""The recipes of docs/architecture.md, followed to the letter in a copy of the code: their result trains."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import ROOT, small_arguments

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def blocks(heading: str) -> dict[str, str]:
    """Code of each numbered step of a recipe, by the file that the step names first."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    steps = re.findall(r"^\d\. `([\w/.]+\.py)`(.*?)(?=^\d\. |\Z)", section, flags=re.DOTALL | re.MULTILINE)
    code = {file: re.search(r"```python\n(.*?)```", step, flags=re.DOTALL) for file, step in steps}
    return {file: textwrap.dedent(block[1]).strip() + "\n" for file, block in code.items() if block}


def edit(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{file.name} has {old!r} {text.count(old)} times"
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


@pytest.fixture
def code(tmp_path) -> Path:
    """A copy of the code, with the models and data that ship."""
    for package in ("configs", "learner", "workers", "cluster", "service"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "ray_job.py", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "quickstart").symlink_to(ROOT / "quickstart")
    return tmp_path


@pytest.mark.slow
def test_a_toy_algorithm_and_a_toy_reward_are_added_by_their_recipes(code):
    algorithm, reward = blocks("Add an algorithm"), blocks("Add a reward")
    file = "configs/algorithms.py"
    edit(code / file, ("AnyAlgorithm = Annotated[", f"{algorithm[file]}\n\nAnyAlgorithm = Annotated[Toy | "))
    (code / "learner/algorithms/toy.py").write_text(algorithm["learner/algorithms/toy.py"], encoding="utf-8")
    edit(
        code / "learner/algorithms/__init__.py",
        ("from learner.algorithms import ", "from learner.algorithms import toy, "),
        ('    "ppo": ppo.estimate,\n', '    "ppo": ppo.estimate,\n    "toy": toy.estimate,\n'),
    )
    file = "configs/reward_parts.py"
    with (code / file).open("a", encoding="utf-8") as opened:
        opened.write(f"\n\n{reward[file]}")
    imports = ("from configs.reward_parts import (", "from configs.reward_parts import (\n    PoliteReward,")
    edit(
        code / "configs/rewards.py",
        imports,
        ("AnyPart = Annotated[\n    ", "AnyPart = Annotated[\n    PoliteReward | "),
    )
    file = "workers/reward/rules.py"
    edit(code / file, ("from configs.reward_parts import ", "from configs.reward_parts import PoliteReward, "))
    with (code / file).open("a", encoding="utf-8") as opened:
        opened.write(f"\n\n{reward[file]}")
    file = "workers/reward/parts.py"
    case = textwrap.indent(reward[file], " " * 8)
    edit(code / file, imports, ("        case LengthReward():", f"{case}        case LengthReward():"))
    arguments = [*small_arguments(algorithm__type="toy", out="run", steps=1), "--reward.parts.polite.type", "polite"]
    done = subprocess.run(
        [sys.executable, "ray_job.py", *arguments], cwd=code, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    [step] = map(json.loads, (code / "run/steps.jsonl").read_text(encoding="utf-8").splitlines())
    assert 0 <= step["score/polite"] <= 1 and step["policy/loss"] is not None and "value/loss" not in step
