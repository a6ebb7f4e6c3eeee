"""Replays golden cases of trl 0.11.3's PPO through this project's learner.

    python -m tests.oracle CASES_DIR [--json]

CASES_DIR holds one folder a case, or a folder `cases` of them. Each case is three steps: queries, responses, scores,
masks and permutations go in, and statistics, per-token tensors, first gradients and weights are compared. Exit code 1
where a case fails or is refused.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cluster.layout import LayoutRequest, resolve
from cluster.placement import Machine
from cluster.roles import learner_settings, reference_settings
from configs.load import validate
from learner.batch import Batch
from learner.learner import Learner
from learner.metrics import Metrics
from learner.settings import LearnerSettings
from learner.tensors import pad_cat, sequence_sum
from learner.types import LearnerState, OldPass, PolicyState, Rollouts, Scores, Tensors, WorkUnit
from tests.oracle_settings import Refused, algorithm_settings
from workers.reference import ReferenceWorker

OURS = {
    "ppo/mean_scores": "reward/mean", "ppo/std_scores": "reward/std",
    "ppo/mean_non_score_reward": "reward/kl_penalty", "ppo/loss/policy": "policy/loss", "ppo/loss/value": "value/loss",
    "ppo/loss/total": "loss/total", "ppo/policy/approxkl": "policy/approx_kl_k2",
    "ppo/policy/policykl": "policy/approx_kl_k1", "ppo/policy/clipfrac": "policy/clip_fraction",
    "ppo/policy/entropy": "policy/entropy", "ppo/returns/var": "value/returns_var", "ppo/val/vpred": "value/mean",
    "ppo/val/mean": "value/old_mean", "ppo/val/var": "value/old_var", "ppo/val/error": "value/error",
    "ppo/val/clipfrac": "value/clip_fraction", "ppo/val/var_explained": "value/explained_variance",
    "ppo/learning_rate": "optimizer/learning_rate",
}  # fmt: skip
"""What trl's statistics are called here, where it is otherwise."""
NAN_OF_ONE_TOKEN = {"ppo/returns/var", "ppo/val/var", "ppo/val/var_explained"}
"""trl's variance of a minibatch with one active token is not a number; here it is 0."""
FLOORS = {"statistics": 0.1, "tensors": 0.1, "gradients": 1e-3}
NOT_REPORTED = {f"tokens/{kind}_len_{figure}" for kind in ("queries", "responses") for figure in ("mean", "std")}
"""trl's lengths count the start token and what the mask excludes."""
BOUNDS = {"statistics": 1e-4, "tensors": 1e-4, "gradients": 1e-4, "weights": 1e-3}


@dataclass
class Differences:
    """The largest difference of each kind, and where it was."""

    largest: dict[str, float] = field(default_factory=lambda: dict.fromkeys(BOUNDS, 0.0))
    where: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, name: str, difference: float) -> None:
        difference = math.inf if math.isnan(difference) else difference
        if difference >= self.largest[kind]:
            self.largest[kind], self.where[kind] = difference, name

    def compare(self, kind: str, name: str, ours: Tensor, theirs: Tensor) -> None:
        """|a - b| / max(|b|max, floor)."""
        assert ours.shape == theirs.shape, f"{name}: {ours.shape} for {theirs.shape}"
        scale = max(theirs.abs().max().item(), FLOORS[kind])
        self.add(kind, name, (ours - theirs).abs().max().item() / scale)

    def passes(self) -> bool:
        return all(self.largest[kind] < bound for kind, bound in BOUNDS.items())


class Replay(Learner):
    """The learner, told in which order to take the sequences, and watched."""

    def __init__(self, settings: LearnerSettings, ppo: dict[str, Any]) -> None:
        super().__init__(settings)
        self.minibatch = ppo["mini_batch_size"]  # several make one of ours where gradients are accumulated
        self.ratio_threshold = ppo["ratio_threshold"]
        self.policy.register_forward_hook(self._watch)
        self.begin({})

    def begin(self, step: dict[str, Any]) -> None:
        """Forget what was seen, and take the order of another step."""
        self.step: dict[str, Any] = step
        self.passes: list[tuple[Tensor, Tensor]] = []
        self.first_gradient: Tensors = {}

    def _watch(self, _module: torch.nn.Module, _inputs: tuple, forward: Any) -> None:
        if torch.is_grad_enabled():
            cut = self.batch.mask.shape[1] - forward.logprobs.shape[1]
            seen = (torch.nn.functional.pad(x.detach(), (0, cut)) for x in (forward.logprobs, forward.values))
            self.passes.append(tuple(seen))

    def _epoch_minibatches(self, batch: Batch, step: int, epoch: int) -> Sequence[Tensor]:
        return torch.tensor(self.step["permutations"][epoch]).split(self.algorithm.minibatch_size)

    def _chunks(self, batch: Batch) -> list[Batch]:
        return [batch.rows(index) for index in torch.arange(len(batch.mask)).split(self.minibatch)]

    # trl averages each accumulated minibatch by itself; this project averages over all tokens of an optimizer step.

    def _loss_weights(self, batch: Batch) -> Tensor:
        chunks = self._chunks(batch)
        return torch.cat([super(Replay, self)._loss_weights(chunk) / len(chunks) for chunk in chunks])

    def _metric_weights(self, batch: Batch) -> Tensor:
        chunks = self._chunks(batch)
        return torch.cat([super(Replay, self)._metric_weights(chunk) / len(chunks) for chunk in chunks])

    def _minibatch_metrics(self, batch: Batch) -> Metrics:
        parts = [super(Replay, self)._minibatch_metrics(chunk) for chunk in self._chunks(batch)]
        return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}

    def _estimate(self, batch: Batch) -> Batch:
        self.batch = super()._estimate(batch)
        return self.batch

    def _clip(self, parameters: list[torch.nn.Parameter]) -> Tensor:
        norm = super()._clip(parameters)
        if not self.first_gradient:
            self.first_gradient = {saved_name(n): p.grad.clone() for n, p in self.policy.trainable().items()}
        return norm


def saved_name(name: str) -> str:
    """A parameter's name in the case files: peft's saved names, and trl's for the value head."""
    return name.removeprefix("peft.").replace(".default.", ".").replace("value_head.", "v_head.summary.")


def policy_state(weights: Tensors, version: int) -> PolicyState:
    head = {n.removeprefix("v_head.summary."): t for n, t in weights.items() if n.startswith("v_head.")}
    return PolicyState(version, {n: t for n, t in weights.items() if not n.startswith("v_head.")}, head)


def case_weights(state: PolicyState) -> Tensors:
    return state.adapter | {f"v_head.summary.{n}": t for n, t in state.value_head.items()}


def reference_state(case: Path, reference: str) -> PolicyState:
    """The adapter named, or one that adds nothing."""
    if reference != "adapter disabled":
        weights = load_file(case / reference)
        head = {n: t for n, t in load_file(case / "weights_0.safetensors").items() if n.startswith("v_head.")}
        return policy_state(head | weights, version=0)
    weights = load_file(case / "weights_0.safetensors")
    return policy_state({n: t * 0 if "lora_B" in n else t for n, t in weights.items()}, version=0)


def rollouts(step: dict[str, Any], number: int) -> Rollouts:
    """The step's sequences as one unit. A response begins with the start token, which is no part of a completion."""
    prompts = [torch.tensor([query]) for query in step["queries"]]
    responses = [torch.tensor([response]) for response in step["responses"]]
    masks = step["response_masks"] or [None] * len(responses)
    mask = pad_cat([completion_mask(r[0], m) for r, m in zip(responses, masks, strict=True)])
    names = tuple(map(str, range(len(prompts))))
    unit = WorkUnit(number, 0, 0, tuple(range(len(prompts))), names, names, ((),) * len(prompts),
                    ({},) * len(prompts), pad_cat(prompts),
                    pad_cat([torch.ones_like(p, dtype=torch.bool) for p in prompts]),
                    torch.zeros(len(prompts), 0, dtype=torch.long))  # fmt: skip
    ids = pad_cat([r[:, 1:] for r in responses])
    ended = torch.ones(len(names), dtype=torch.bool)
    whole = torch.zeros(*ids.shape, 0, dtype=torch.uint8)
    return Rollouts(unit, number, ids, mask, torch.zeros(ids.shape), whole, ended, names)


@torch.no_grad()
def old_pass(learner: Replay, policy: PolicyState, sampled: Rollouts) -> OldPass:
    """What the rollout worker would send along with the completions."""
    learner.policy.load(policy, cached=False)
    encoded = learner.policy.encode(sampled.unit.prompt_ids, sampled.unit.prompt_mask)
    forced = learner.policy.teacher_forced(encoded, sampled, full=True)
    return OldPass(sampled.unit.key, forced.logprobs, forced.values, forced.full)


def completion_mask(response: Tensor, response_mask: list[int] | None) -> Tensor:
    """trl's: neither the start token nor, a quirk this project departs from, the first sampled one. [1, L - 1]"""
    mask = torch.ones(1, len(response) - 1, dtype=torch.bool)
    mask[0, 0] = False
    if response_mask is not None:
        mask[0, 1:] &= torch.tensor(response_mask, dtype=torch.bool)
    return mask


def replay(case: Path) -> Differences:
    """Run a case. Raises `Refused` where it asks for what this project deliberately does not have."""
    settings = json.loads((case / "config.json").read_text())
    steps = json.loads((case / "steps.json").read_text())["steps"]
    algorithm = algorithm_settings(settings, steps)
    base = (case / settings["base"]).resolve()
    config = validate({
        "policy": {"model": str(base), "adapter": str(base / "adapter"), "dtype": settings["dtype"]},
        "reward": {"parts": {"none": {"type": "length", "words": 1}}}, "data": {"path": "none"},
        "rollout": {"batch_size": settings["ppo"]["batch_size"]}, "algorithm": algorithm,
    })  # fmt: skip
    layout = resolve(LayoutRequest.of(config), [Machine(2)])  # without GPUs, as trl's figures were computed
    learner, reference = (
        Replay(learner_settings(config, layout), settings["ppo"]),
        ReferenceWorker(reference_settings(config, layout)),
    )
    anchor = reference_state(case, settings["reference"])
    policy, state = policy_state(load_file(case / "weights_0.safetensors"), 0), learner.initial_state()[1]
    differences = Differences()
    for number, step in enumerate(steps):
        policy, state = replay_step(case, learner, reference, (policy, state, anchor), (number, step), differences)
    return differences


def replay_step(
    case: Path, learner: Replay, reference: ReferenceWorker, states: tuple[PolicyState, LearnerState, PolicyState],
    numbered: tuple[int, dict[str, Any]], differences: Differences,
) -> tuple[PolicyState, LearnerState]:  # fmt: skip
    """One step, from our own state of the step before; adds its differences."""
    policy, state, anchor = states
    number, step = numbered
    golden = load_file(case / f"step_{number + 1}.safetensors")
    learner.begin(step)
    sampled, scores = rollouts(step, number), torch.tensor(step["scores"], dtype=torch.float32)
    verdict = Scores(sampled.unit.key, scores, {"classifier": scores}, torch.zeros(len(scores), dtype=torch.bool))
    new_policy, new_state, metrics = learner.update(
        policy, state, sampled, old_pass(learner, policy, sampled), verdict, reference.logprobs(sampled, anchor)
    )
    refuse_ratio(golden, torch.tensor(step["minibatch_indices"]), learner.ratio_threshold)
    compare_step(learner, golden, state.kl_coef, differences)
    for name, value in step["stats"].items():
        if name in NAN_OF_ONE_TOKEN and math.isnan(value):
            assert math.isfinite(metrics[OURS.get(name, name)])
        elif name not in NOT_REPORTED:
            differences.compare("statistics", name, torch.tensor(metrics[OURS.get(name, name)]), torch.tensor(value))
    differences.compare(
        "statistics", "kl_coef_before", torch.tensor(state.kl_coef), torch.tensor(step["kl_coef_before"])
    )
    differences.compare(
        "statistics", "kl_coef_after", torch.tensor(new_state.kl_coef), torch.tensor(step["kl_coef_after"])
    )
    first, ours = load_file(case / "weights_0.safetensors"), case_weights(new_policy)
    for name, theirs in load_file(case / f"weights_{number + 1}.safetensors").items():
        moved = (theirs - first[name]).abs().max().item()
        apart = (ours[name] - theirs).abs().max().item()
        differences.add("weights", name, apart / moved if moved else apart)
    return new_policy, new_state


def refuse_ratio(golden: Tensors, order: Tensor, threshold: float) -> None:
    """Where trl zeroed a loss because its ratios were large, there is nothing here to compare with."""
    change = golden["new_logprobs"].view(*order.shape, -1) - golden["old_logprobs"][order]
    mask = golden["mask"].bool()[order]
    ratios = change.exp().masked_fill(~mask, 0).sum(dim=(1, 2)) / mask.sum(dim=(1, 2))
    if ratios.max() > threshold:
        raise Refused(f"ratio_threshold={threshold}: reached, and a loss that is not finite rejects the step instead")


def compare_step(learner: Replay, golden: Tensors, kl_coef: float, differences: Differences) -> None:
    """Per-token tensors where the mask is set (trl computes nonsense elsewhere), and the first gradients."""
    batch, mask = learner.batch, golden["mask"].bool()
    assert torch.equal(batch.mask, mask), "the case's mask"
    ours = {
        "old_logprobs": batch.old_logprobs, "ref_logprobs": batch.ref_logprobs, "values": batch.old_values,
        "kl": batch.kl, "non_score_rewards": -kl_coef * batch.kl, "rewards": batch.rewards,
        "advantages": batch.advantages, "returns": batch.returns,
    }  # fmt: skip
    for name, tensor in ours.items():
        differences.compare("tensors", name, tensor * mask, golden[name] * mask)
    differences.compare("tensors", "scores_used", batch.scores, golden["scores_used"])
    differences.compare("tensors", "kl_dist", sequence_sum(batch.kl, mask), golden["stats/objective/kl_dist"])
    order = torch.tensor(learner.step["minibatch_indices"])
    for name, seen in zip(("new_logprobs", "vpreds"), zip(*learner.passes, strict=True), strict=True):
        theirs = golden[name] if golden[name].dim() == 3 else golden[name].unflatten(0, order.shape)
        differences.compare("tensors", name, torch.cat(seen).view_as(theirs) * mask[order], theirs * mask[order])
    for name, gradient in learner.first_gradient.items():
        differences.compare("gradients", name, gradient, golden[f"first_grad/{name}"])


def report(case: Path) -> dict[str, Any]:
    """A case's outcome as JSON would have it."""
    try:
        differences = replay(case)
    except Refused as refusal:
        return {"case": case.name, "passes": False, "refused": str(refusal)}
    except Exception as error:  # one odd case must not keep the others from being seen
        return {"case": case.name, "passes": False, "error": f"{type(error).__name__}: {error}"}
    return {"case": case.name, "passes": differences.passes(), **differences.largest, "where": differences.where}


def main(arguments: list[str]) -> int:
    """Replay all cases and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON object a case")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    root = options.cases / "cases" if (options.cases / "cases").is_dir() else options.cases
    outcomes = [report(case) for case in sorted(root.iterdir()) if (case / "config.json").is_file()]
    if not outcomes:
        print(f"error: {root} holds no cases", file=sys.stderr)
        return 2
    for outcome in outcomes:
        figures = "  ".join(f"{kind} {outcome[kind]:.1e}" for kind in BOUNDS if kind in outcome)
        verdict = "pass" if outcome["passes"] else "REFUSED" if "refused" in outcome else "FAIL"
        print(
            json.dumps(outcome) if options.json else f"{verdict:8}{outcome['case']:26}{outcome.get('refused', figures)}"
        )
    return 0 if all(outcome["passes"] for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
