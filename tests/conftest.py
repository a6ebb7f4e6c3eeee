"""Shared fixtures: small configs on the shipped models, and one unit with everything computed from it."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never wait for the hub

import hypothesis
import pytest
import torch
from transformers import AutoTokenizer

from cluster.layout import LayoutRequest, resolve
from cluster.placement import Machine
from cluster.plan import Plan, make_unit
from cluster.preflight.data import plan_settings
from cluster.roles import worker_specs
from configs.load import load_config
from configs.schema import Config
from learner.learner import Learner
from learner.types import Experience
from workers.data.prompts import make_prompts, read_rows
from workers.reference import ReferenceWorker
from workers.reward.worker import RewardWorker
from workers.rollout.worker import RolloutWorker
from workers.settings import ScorerSettings

hypothesis.settings.register_profile("untimed", deadline=None)  # the time that a case takes is not under test
hypothesis.settings.load_profile("untimed")
ROOT = Path(__file__).parent.parent
SMALL = {"steps": 2, "rollout.batch_size": 8, "rollout.unit_size": 4, "rollout.max_new_tokens": 12,
         "algorithm.minibatch_size": 4, "evaluation.rows": 6, "evaluation.samples": 2, "evaluation.unit_size": 4,
         "cluster.backend": "inline"}  # fmt: skip


def small_arguments(**overrides: object) -> list[str]:
    """Command line of a run that takes seconds; a double underscore in a name stands for a dot."""
    settings = SMALL | {key.replace("__", "."): value for key, value in overrides.items()}
    return [f"--{key}={value}" for key, value in settings.items()]


def small_config(**overrides: object) -> Config:
    return load_config(small_arguments(**overrides))


def read_prompts(config: Config, split: str = "validation"):
    tokenizer = AutoTokenizer.from_pretrained(config.policy.model)
    group_by = config.algorithm.prompt_groups
    return make_prompts(read_rows(config.data, split, group_by), config.data, tokenizer, group_by)


def settings_of(config: Config, role: str):
    """Settings of a role's worker on a machine without GPUs."""
    return worker_specs(config, resolve(LayoutRequest.of(config), [Machine(2)]))[role].settings


def scorer_settings(config: Config) -> ScorerSettings:
    return ScorerSettings(config.reward)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def config() -> Config:
    return small_config()


@pytest.fixture(scope="session")
def prompts(config):
    return read_prompts(config)


@pytest.fixture(scope="session")
def plan(config, prompts) -> Plan:
    return Plan(plan_settings(config), prompts, prompts)


@pytest.fixture(scope="session")
def unit(prompts):
    return make_unit(prompts, [3, 1, 4, 5], (0, 0), seed=11)


@pytest.fixture(scope="session")
def learner(config) -> Learner:
    return Learner(settings_of(config, "learner"))


@pytest.fixture(scope="session")
def start(learner):
    """Policy state and learner state of version 0."""
    learner.policy = type(learner.policy)(learner.settings.policy, learner.settings.seed)
    return learner.initial_state()


@pytest.fixture(scope="session")
def rollout_worker(config) -> RolloutWorker:
    return RolloutWorker(settings_of(config, "rollout"))


@pytest.fixture(scope="session")
def reward_worker(config) -> RewardWorker:
    return RewardWorker(settings_of(config, "reward"))


@pytest.fixture(scope="session")
def reference_worker(config) -> ReferenceWorker:
    return ReferenceWorker(settings_of(config, "reference"))


@pytest.fixture(scope="session")
def parts(plan, start, rollout_worker, reward_worker, reference_worker):
    """Rollouts, old pass, scores and reference log-probabilities of the units of step 0, in turn."""
    sampled = [rollout_worker.generate(unit, start[0]) for unit in plan.units(0)]
    units = [(r, old, reward_worker.score(r), reference_worker.logprobs(r, start[0])) for r, old in sampled]
    return [part for unit in units for part in unit]


@pytest.fixture(scope="session")
def experiences(parts):
    return [Experience.join(*unit, range(1)) for unit in zip(*[iter(parts)] * 4, strict=True)]


class Quickstart(NamedTuple):
    """The outputs of the default run, started as a new user would."""

    folder: Path
    log: str
    home: Path
    files_in_home: list[str]


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory) -> Quickstart:
    folder, home = tmp_path_factory.mktemp("quickstart") / "run", tmp_path_factory.mktemp("home")
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"HOME": str(home)}
    command = [sys.executable, "ray_job.py", "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(folder)
    return Quickstart(folder, done.stderr, home, [path.name for path in home.iterdir()])


@pytest.fixture(scope="session")
def browser():
    """A browser that all tests share."""
    from tests.browser import chromium  # selenium is not on every machine that runs the laws

    driver = chromium()
    yield driver
    driver.quit()


@pytest.fixture(autouse=True)
def own_log():
    """A service that a test starts in this process writes its log to a standard error that is closed with the test."""
    log = logging.getLogger("seqrlhf.service")
    handlers, propagate, level = log.handlers, log.propagate, log.level
    yield
    log.handlers, log.propagate = handlers, propagate
    log.setLevel(level)
