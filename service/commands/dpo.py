"""`ray_job.py dpo`: an adapter learnt from pairs of completions, or from thumbs, without a reward model."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file

from cluster.driver import Start
from cluster.layout import LayoutRequest
from cluster.pools.interface import Pools
from cluster.pools.opening import open_pools
from cluster.preferences.driver import References, learn, reference_logprobs, start
from cluster.preferences.plan import PreferencePlan
from cluster.preflight.preferences import check_preferences
from cluster.roles import preference_specs
from configs.errors import UsageError
from configs.installation import COMMAND
from configs.schema import Config
from learner.adapter import save_adapter, tensors_sha256
from learner.atomic_files import replace_file
from learner.lora import lora_config
from learner.types import PolicyState, TrainState
from service.run.folder import RunFolder, new_folder
from service.run.preference_lines import (
    BEST,
    HELD_OUT_LOSS,
    evaluated,
    plan_lines,
    result_lines,
    start_line,
    step_summary,
)
from service.run.progress import Display, silence_libraries
from service.run.resume_hint import resume_hint
from service.run.start_record import read_start
from service.run.step_log import read_steps
from service.run.supervisor import RunSupervisor
from service.run.unit_file import UnitFile

RESULT = "dpo.json"


def dpo(config: Config, resume: Path | None = None) -> None:
    """Learn an adapter, or resume a folder's learning; the last line of standard output is the folder.

    Raises `UsageError` before anything starts, `RunError` if it fails.
    """
    began = time.perf_counter()
    silence_libraries()
    display = Display(Console(stderr=True))
    with display.phase("checking model and pairs"):
        plan = check_preferences(config, resume)
        shape = lora_config(config.policy)  # read now: its source may be gone by the end of the run
    config = config.model_copy(update={"steps": plan.steps})
    path = resume or (Path(config.out) if config.out else new_folder())
    with RunFolder(path, config, display) as folder, resume_hint(path, f"{COMMAND} dpo", display), \
            display.failure_logged():  # fmt: skip
        if resume and is_complete(path, plan):
            display.say(f"{path} is complete: nothing left to do")
        else:
            if resume:
                check_pairs(path, plan)
            resumed = folder.resume() if resume else folder.create()
            display.folder = path
            for line in plan_lines(plan, config.data.template):
                display.say(line)
            _run(Beginning(config, plan, shape, resumed, began), folder)
    print(path)


@dataclass(frozen=True)
class Beginning:
    """What is known before the workers start."""

    config: Config
    plan: PreferencePlan
    shape: PeftConfig  # of the adapter
    resumed: TrainState | None
    began: float  # time.perf_counter() at the start of the command


def _run(beginning: Beginning, folder: RunFolder) -> None:
    config, plan, path, display = beginning.config, beginning.plan, folder.path, folder.display
    request = LayoutRequest.of_learners(config)
    with open_pools(config, RunSupervisor(path, display.say), preference_specs, request) as pools:
        with display.phase("loading the model"):
            initial = start(pools, beginning.resumed)
        folder.open(initial, plan)
        references = _references(beginning, pools, initial.reference, folder)
        state = _learn(beginning, pools, initial, references, folder)
    save_adapter(state.policy, beginning.shape, config.policy.model, path / "adapter")
    facts = {"adapter_sha256": tensors_sha256(state.policy.adapter), "steps": plan.steps, "seed": config.seed}
    facts |= {"pairs": plan.counts(), "pairs_sha256": plan.sha256(), "seconds": time.perf_counter() - beginning.began}
    replace_file(path / RESULT, json.dumps(facts | _last(path) | {"torch": torch.__version__}, indent=2).encode())
    display.done()
    for line in result_lines(path):
        display.say(line)


def _references(beginning: Beginning, pools: Pools, reference: PolicyState, folder: RunFolder) -> References:
    """The reference's log-probabilities of all examples, computed once and kept in `reference.jsonl`."""
    config, plan = beginning.config, beginning.plan
    references = References(config.dpo.loss.with_reference)
    if not references.needed:
        return references
    sizes = {"batch_size": config.dpo.batch_size, "microbatch_size": config.dpo.microbatch_size, "seed": config.seed}
    facts = {"adapter": tensors_sha256(reference.adapter), "pairs": plan.sha256(), **sizes}
    file, units = UnitFile(folder.path / "reference.jsonl", facts), {(u.step, u.index): u for u in plan.first_units()}
    for key in units.keys() & file.lines.keys():
        references.add(units[key], torch.tensor(file.lines[key]["logprobs"]))
    left = [unit for key, unit in units.items() if key not in file.lines]
    found = reference_logprobs(left, pools, reference)
    shown = folder.display.track(found, len(left), "log-probabilities of the reference") if left else ()
    for unit, logprobs in shown:
        references.add(unit, logprobs)
        file.add((unit.step, unit.index), logprobs=logprobs.tolist())
    file.close()
    return references


def _learn(beginning: Beginning, pools: Pools, initial: Start, references: References, folder: RunFolder) -> TrainState:
    """Run the remaining steps, and keep the adapter with the lowest held-out loss; returns the final state."""
    config, plan, display, state = beginning.config, beginning.plan, folder.display, initial.state
    lowest = min((step[HELD_OUT_LOSS] for step in evaluated(folder.path)), default=math.inf)
    reports = learn(config.dpo, plan, pools, initial, references)
    for report in display.steps(reports, state.version, plan.steps, step_summary):
        state = report.state
        if report.metrics.get(HELD_OUT_LOSS, math.inf) < lowest:
            lowest = report.metrics[HELD_OUT_LOSS]
            save_adapter(state.policy, beginning.shape, config.policy.model, folder.path / BEST)
        folder.add(report)  # after the adapter: a resumed run takes it as written
        if report.step == 0 and references.needed:
            display.say(start_line(report.metrics))
    return state


def check_pairs(folder: Path, plan: PreferencePlan) -> None:
    """Raises `UsageError` if the folder's run started with other pairs."""
    before = read_start(folder).get("data_sha256", plan.sha256())
    if before != plan.sha256():
        raise UsageError(
            f"dpo.pairs: not the pairs that {folder} started with, as they are split and cut by the settings; restore "
            f"them, or start a new run"
        )


def is_complete(folder: Path, plan: PreferencePlan) -> bool:
    """True if learning from these pairs has finished in the folder and its adapter has not changed since."""
    try:
        made = json.loads((folder / RESULT).read_bytes())
        adapter = tensors_sha256(load_file(folder / "adapter/adapter_model.safetensors"))
        return (made["adapter_sha256"], made["pairs_sha256"], made["steps"]) == (adapter, plan.sha256(), plan.steps)
    except (OSError, ValueError, KeyError, SafetensorError):
        return False


def _last(folder: Path) -> dict[str, Any]:
    """The held-out metrics of the last step, without the NaN that JSON cannot hold."""
    last = read_steps(folder)[-1]
    held_out = {name: value for name, value in last.items() if name.startswith("held_out/")}
    return {name: value if math.isfinite(value) else None for name, value in held_out.items()}
