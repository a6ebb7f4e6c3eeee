"""How a command of the documents is tried."""

import contextlib
import importlib.util
import io
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import ray_job
from configs.load import load_request
from tests.documents.pages import ROOT

SMALL = {"steps": 2, "rollout.batch_size": 8, "rollout.unit_size": 4, "rollout.max_new_tokens": 12,
         "algorithm.minibatch_size": 4, "evaluation.rows": 4, "evaluation.samples": 1, "sft.epochs": 0.01,
         "sft.eval_rows": 4, "sft.evals": 1, "bench.steps": 1, "cluster.backend": "inline"}  # fmt: skip


class Failed(Exception):
    """A command that does not do what the documents say, with its output."""


@dataclass
class Place:
    """Where commands are tried, and what later ones need of earlier ones."""

    folder: Path
    open: contextlib.ExitStack  # ends the service
    url: str = ""  # of the service
    run: str = ""  # the run that it was given


@dataclass(frozen=True)
class Way:
    """How a command is tried."""

    def try_out(self, command: str, place: Place) -> None:
        """Raise `Failed` if it does not work."""
        raise NotImplementedError


@dataclass(frozen=True)
class Run(Way):
    """`python ray_job.py ...` in this process, with settings that shorten it; `fill` replaces placeholders."""

    fill: tuple[tuple[str, str], ...] = ()
    small: bool = True  # whether it takes settings
    group_size: int | None = None  # of a preset with larger groups than the shortening settings allow

    def try_out(self, command: str, place: Place) -> None:
        for old, new in self.fill:
            command = command.replace(old, new)
        words = arguments(command)
        given = {word.removeprefix("--") for word in words if word.startswith("--")}
        extra = [f"--{key}={value}" for key, value in SMALL.items() if key not in given] if self.small else []
        extra += [f"--algorithm.group_size={self.group_size}"] if self.group_size else []
        code, output = called(lambda: ray_job.main([*words, *extra]))
        if code:
            raise Failed(f"exit code {code}\n{output}")


@dataclass(frozen=True)
class Load(Way):
    """The settings of `python ray_job.py ...` are valid; what they name is not here, or takes too long."""

    def try_out(self, command: str, place: Place) -> None:
        words = arguments(command)
        first = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
        if first and words[0] not in ray_job.COMMANDS:
            raise Failed(f"no command {words[0]!r}")
        load_request(words[first:])


@dataclass(frozen=True)
class Module(Way):
    """`python -m MODULE ...`: as written, or if it takes too long there is such a module."""

    run: bool = False

    def try_out(self, command: str, place: Place) -> None:
        name, *words = shlex.split(command)[2:]
        if not importlib.util.find_spec(name):
            raise Failed(f"no module {name}")
        if self.run:
            sys.argv = [name, *words]
            code, output = called(lambda: runpy.run_module(name, run_name="__main__"))
            if isinstance(code, int) and code:
                raise Failed(output)


@dataclass(frozen=True)
class Shell(Way):
    """By the shell in the project's folder: as written, or for make, what it would do."""

    def try_out(self, command: str, place: Place) -> None:
        shown = re.sub(r"^make ", "make --dry-run --always-make ", command)
        done = subprocess.run(["bash", "-c", shown], cwd=ROOT, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise Failed(done.stdout + done.stderr)


@dataclass(frozen=True)
class Elsewhere(Way):
    """By a file of tests, in which `words` stand."""

    file: str
    words: str

    def try_out(self, command: str, place: Place) -> None:
        if self.words not in (ROOT / self.file).read_text(encoding="utf-8"):
            raise Failed(f"{self.file} does not try this: it does not hold {self.words!r}")


def arguments(command: str) -> list[str]:
    """What stands behind `ray_job.py`."""
    words = shlex.split(command)
    return words[words.index("ray_job.py") + 1 :]


def called(function: Callable[[], object]) -> tuple[object, str]:
    """What it returns or exits with, and what it printed."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            result = function()
        except SystemExit as exit:
            result = exit.code
    return result, output.getvalue()


def collect(words: str) -> None:
    """Raise `Failed` if pytest finds no tests by these arguments."""
    code, output = called(lambda: pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *shlex.split(words)]))
    if code:
        raise Failed(f"no such tests\n{output}")
