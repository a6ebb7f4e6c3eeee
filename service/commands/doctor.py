"""`ray_job.py doctor`: will it run? Every problem at once, each with its remedy, before anything is spent."""

import shutil
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cluster.driver import check_shapes
from cluster.layout import Machine, check_fit, describe, resolve
from cluster.memory import estimate, total
from cluster.pools.interface import ROLES, make_worker
from cluster.preflight.preflight import preflight
from configs.errors import UsageError
from configs.schema import Config
from learner.checkpoints import load_newest
from service.commands.train import model_line
from service.report.table import versions
from service.run.folder import RunFolder
from service.run.progress import Display, silence_libraries

CHECKPOINT_BYTES = 3 * 4
"""Per trainable weight: itself and Adam's two moments, in float32."""


class Skipped(Exception):
    """A check that means nothing as long as something else is wrong."""


class Doctor:
    """The checks, in the order in which they are shown. Each gives what it found, or raises what is wrong."""

    def __init__(self, config: Config, resume: Path | None) -> None:
        self.config, self.resume = config, resume
        self.machines = [Machine.here()]
        self.models_are_known = self.it_fits = False

    def versions(self) -> str:
        """Python and the packages that matter."""
        return ", ".join(f"{name} {version}" for name, version in versions().items())

    def models_and_data(self) -> str:
        """Models, labels, tokenizers, adapter, data, folders and address: what a run checks too."""
        plan = preflight(self.config, self.resume)
        if self.resume:
            RunFolder(self.resume, self.config, Display(Console(stderr=True))).check_data(plan)
        self.models_are_known = True
        return f"found; {len(plan.train)} prompts to learn from, {len(plan.held_out)} held out"

    def _require_models(self) -> None:
        """Raises `Skipped` where models or data are wrong, which `models_and_data` has told."""
        if not self.models_are_known:
            raise Skipped

    def policy(self) -> str:
        """Whether the policy can be loaded, weights and adapter."""
        self._require_models()
        if not self.it_fits:
            raise Skipped
        learner = make_worker(ROLES["learner"], self.config, threads=1)
        if self.resume and (state := load_newest(self.resume / "checkpoints", print)):
            check_shapes(state.policy, learner.initial_state()[0])
        return model_line(learner.describe()).removeprefix("policy in ")

    def reward(self) -> str:
        """Whether reward and judges rank the two texts of reward.probe the right way."""
        probe = make_worker(ROLES["reward"], self.config, threads=1).probe()
        if probe is None:
            return "not asked for (reward.probe null)"
        return f"better text {probe['better']:+.2f}, worse {probe['worse']:+.2f}"

    def cluster(self) -> str:
        """Whether Ray is to be had, and is as open as it should be."""
        if self.config.cluster.backend == "inline":
            return "not needed (inline)"
        from cluster.pools.ray_pools import about, connected

        with connected(self.config.cluster.address) as self.machines:
            return about()

    def layout(self) -> str:
        """Whether all workers find a place."""
        return describe(check_fit(self.config, self.machines))

    def memory(self) -> str:
        """Whether what they take, about, is there."""
        self._require_models()
        config = resolve(self.config, self.machines)
        each = estimate(config)
        needed, there = total(config, each), sum(machine.memory for machine in self.machines)
        told = ", ".join(f"{role} {each[role] / 1e9:.1f}" for role in ROLES)
        told = f"about {needed / 1e9:.1f} GB ({told} each) of {there / 1e9:.1f} GB free"
        if needed > there:
            raise UsageError(
                f"memory: {told}; lower workers.*, rollout.unit_size or algorithm.microbatch_size, or set policy.dtype "
                f"bfloat16"
            )
        self.it_fits = True
        return told

    def upload(self) -> str:
        """What a job's submission from here would send."""
        if not Path("ray_job.py").is_file():
            return "none: jobs are submitted from the project's folder"
        from cluster.upload import examine_upload

        return examine_upload(Path.cwd())

    def disk(self) -> str:
        """Room for checkpoints and report."""
        folder = self.resume or Path(self.config.out or ".")
        there = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
        lora = self.config.policy.lora
        weights = 2 * lora.r * 1024 * 100  # a large model's, generously: two matrices in a hundred layers
        needed = CHECKPOINT_BYTES * weights * (self.config.checkpoints.keep + 1)
        free = shutil.disk_usage(there).free
        told = f"at most {needed / 1e6:.0f} MB for checkpoints, {free / 1e9:.1f} GB free at {there}"
        if needed > free:
            raise UsageError(f"out: {told}; make room, lower checkpoints.keep, or name another folder")
        return told


def examine(config: Config, resume: Path | None = None) -> None:
    """Show every check. Raises `UsageError` with all problems where the run would not work."""
    silence_libraries()
    doctor, problems, display = Doctor(config, resume), [], Display(Console(stderr=True))
    table = Table("", "check", "found")
    for check in (doctor.versions, doctor.models_and_data, doctor.cluster, doctor.layout, doctor.memory,
                  doctor.policy, doctor.reward, doctor.upload, doctor.disk):  # fmt: skip
        name = check.__name__.replace("_", " ")
        with display.phase(f"looking at {name}"):
            mark, found, wrong = _examine(check)
        table.add_row(mark, name, found, style="red" if wrong else "")
        problems += wrong
    Console().print(table)
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    print("it will run")


def _examine(check: Callable[[], str]) -> tuple[str, str, list[str]]:
    """Whether all is well, what a check found, and what is wrong."""
    try:
        return "ok", check(), []
    except UsageError as error:
        return "x", "see below", list(error.problems)
    except Skipped:
        return "-", "not looked at: see below", []
    except Exception as error:  # whatever a model that nobody has tried raises
        return "x", "see below", [f"{check.__name__}: {type(error).__name__}: {error}"]
