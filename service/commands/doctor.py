"""`ray_job.py doctor`: check whether a run would work, and report every problem with its remedy."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cluster.driver import check_shapes
from cluster.fit import check_fit
from cluster.layout import ROLES, Layout, LayoutRequest, describe, resolve
from cluster.memory import estimate, total
from cluster.placement import Machine
from cluster.pools.interface import make_worker
from cluster.preflight.data import data_lines
from cluster.preflight.preflight import preflight
from cluster.roles import worker_specs
from cluster.trial_step import trial_step
from configs.errors import UsageError
from configs.schema import Config
from learner.checkpoints import load_newest
from service.commands.train import model_line
from service.report.versions import versions
from service.run.progress import Display, silence_libraries
from service.run.start_record import check_data

CHECKPOINT_BYTES = 3 * 4
"""Per trainable weight: the weight and Adam's two moments, in float32."""


class Skipped(Exception):
    """Raised by a check that cannot run because an earlier one failed."""


class Doctor:
    """The checks, in display order. Each returns what it found, or raises an error that names the problem."""

    def __init__(self, config: Config, resume: Path | None) -> None:
        self.config, self.resume = config, resume
        self.machines = [Machine.here()]
        self.models_are_known = self.it_fits = self.policy_loads = self.reward_ranks = False

    def versions(self) -> str:
        """Versions of Python and the main packages."""
        return ", ".join(f"{name} {version}" for name, version in versions().items())

    def models_and_data(self) -> str:
        """Models, labels, tokenizers, adapter, data, folders and address: the checks that every run makes."""
        self.plan = plan = preflight(self.config, self.resume)
        if self.resume:
            check_data(self.resume, self.config, plan, Display(Console(stderr=True)).say)
        self.models_are_known = True
        found = f"found; {len(plan.train)} training prompts, {len(plan.held_out)} held-out prompts"
        return "\n".join([found, *data_lines(plan.splits)])

    def _require_models(self) -> None:
        if not self.models_are_known:
            raise Skipped

    def _worker(self, role: str) -> Any:
        """A worker of the run in this process, on the CPU unless its settings reserve GPUs explicitly."""
        return make_worker(worker_specs(self.config, self._layout())[role], threads=1)

    def _layout(self) -> Layout:
        return resolve(LayoutRequest.of(self.config), [replace(Machine.here(), gpus=0)])

    def policy(self) -> str:
        """Load the policy, weights and adapter."""
        self._require_models()
        if not self.it_fits:
            raise Skipped
        learner = self._worker("learner")
        if self.resume and (state := load_newest(self.resume / "checkpoints", print)):
            check_shapes(state.policy, learner.initial_state()[0])
        self.policy_loads = True
        return model_line(learner.describe()).removeprefix("policy in ")

    def step(self) -> str:
        """Take a tiny training step: generate, score and update."""
        if not (self.policy_loads and self.reward_ranks):
            raise Skipped
        metrics = trial_step(self.config, self._layout(), self.plan)
        return f"{metrics['tokens/completions']:.0f} tokens generated, scored and learnt from"

    def reward(self) -> str:
        """Load the reward, and check that its classifiers and judges rank the texts of their probes correctly."""
        scores = self._worker("reward").probe()
        self.reward_ranks = True
        probed = [
            f"{name}: better text {better:+.2f}, worse {worse:+.2f}"
            for name, pairs in scores.items()
            for better, worse in pairs
        ]
        return "; ".join([", ".join(self.config.reward.parts), *probed])

    def cluster(self) -> str:
        """Connect to Ray, or start it, and check that it is not exposed."""
        if self.config.cluster.backend == "inline":
            return "not needed (inline)"
        from cluster.ray_cluster import about, connected

        with connected(self.config.cluster.address) as self.machines:
            return about()

    def layout(self) -> str:
        """Check that the machines have CPUs and GPUs for all workers."""
        return describe(check_fit(LayoutRequest.of(self.config), self.machines))

    def memory(self) -> str:
        """Compare the estimated memory of all workers with the free memory."""
        self._require_models()
        layout = resolve(LayoutRequest.of(self.config), self.machines)
        each = estimate(self.config, layout)
        needed, free = total(layout, each), sum(machine.memory for machine in self.machines)
        parts = ", ".join(f"{role} {each[role] / 1e9:.1f}" for role in ROLES)
        found = f"about {needed / 1e9:.1f} GB ({parts} each) of {free / 1e9:.1f} GB free"
        if needed > free:
            raise UsageError(
                f"memory: {found}; lower workers.*, rollout.unit_size or algorithm.microbatch_size, or set "
                f"policy.dtype bfloat16"
            )
        self.it_fits = True
        return found

    def upload(self) -> str:
        """Size of the working directory that `ray job submit` would upload."""
        if not Path("ray_job.py").is_file():
            return "none: jobs are submitted from the project's folder"
        from cluster.upload import examine_upload

        return examine_upload(Path.cwd())

    def disk(self) -> str:
        """Compare the size of the checkpoints with the free disk space."""
        folder = self.resume or Path(self.config.out or ".")
        existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
        lora = self.config.policy.lora
        weights = 2 * lora.r * 1024 * 100  # a generous bound: two matrices in each of a large model's hundred layers
        needed = CHECKPOINT_BYTES * weights * (self.config.checkpoints.keep + 1)
        free = shutil.disk_usage(existing).free
        found = f"at most {needed / 1e6:.0f} MB for checkpoints, {free / 1e9:.1f} GB free at {existing}"
        if needed > free:
            raise UsageError(f"out: {found}; free up space, lower checkpoints.keep, or choose another folder")
        return found


def examine(config: Config, resume: Path | None = None) -> None:
    """Run and show every check. Raises `UsageError` with all problems if the run would not work."""
    silence_libraries()
    doctor, problems, display = Doctor(config, resume), [], Display(Console(stderr=True))
    table = Table("", "check", "found")
    for check in (doctor.versions, doctor.models_and_data, doctor.cluster, doctor.layout, doctor.memory,
                  doctor.policy, doctor.reward, doctor.step, doctor.upload, doctor.disk):  # fmt: skip
        name = check.__name__.replace("_", " ")
        with display.phase(f"checking {name}"):
            mark, found, wrong = _examine(check)
        table.add_row(mark, name, found, style="red" if wrong else "")
        problems += wrong
    Console().print(table)
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    print("it will run")


def _examine(check: Callable[[], str]) -> tuple[str, str, list[str]]:
    """A check's mark, finding and problems."""
    try:
        return "ok", check(), []
    except UsageError as error:
        return "x", "see below", list(error.problems)
    except Skipped:
        return "-", "not checked: see below", []
    except Exception as error:  # an untested model may raise anything
        return "x", "see below", [f"{check.__name__}: {type(error).__name__}: {error}"]
