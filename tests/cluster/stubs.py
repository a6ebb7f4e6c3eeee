"""Workers without models, for tests of everything around them: functions of their arguments, like the real ones, that
take microseconds. The result of `update` depends on every unit, on their order, and on how often each is applied.
"""

import torch

from cluster.layout import ROLES
from cluster.pools.interface import WorkerSpec
from learner.rewards import ScoreMoments
from learner.types import LearnerState, OldPass, PolicyState, RefLogprobs, Rollouts, Scores
from workers.evaluation.measures import ROUGE, SHAPE, TOXICITY
from workers.reward.versions import Refusal, Trial


def stub_specs(config, layout):
    return {role: WorkerSpec(f"tests.cluster.stubs:{role.title()}", config.run_ahead) for role in ROLES}


STUBS = stub_specs


def numbers(rows: int, *seeds: int) -> torch.Tensor:
    seed = hash(seeds) % 2**31  # hashes of integers are the same in every process
    return torch.rand(rows, 4, generator=torch.Generator().manual_seed(seed))


def weight_of(version):
    return version.reward.parts["classifier"].weight if version else 1.0


class Worker:
    def __init__(self, run_ahead):
        self.run_ahead = run_ahead


class Rollout(Worker):
    def generate(self, unit, state):
        weight = state.adapter["weight"]
        logprobs = numbers(len(unit.rows), unit.seed) * weight
        mask = torch.ones_like(logprobs, dtype=torch.bool)
        # Large enough for the node's object store, so that the loss of the node loses it.
        ids = torch.zeros(len(unit.rows), 4, dtype=torch.long)
        padding = unit.prompt_ids.new_zeros(len(unit.rows), 4000)
        unit = type(unit)(**{**vars(unit), "prompt_ids": torch.cat([unit.prompt_ids, padding], dim=1)})
        ended = torch.ones(len(unit.rows), dtype=torch.bool)
        whole = torch.zeros(*ids.shape, 0, dtype=torch.uint8)
        rollouts = Rollouts(unit, state.version, ids, mask, logprobs, whole, ended, ("text",) * len(unit.rows))
        return rollouts, OldPass(unit.key, logprobs, logprobs, logprobs[:, :, None][:, :, :0])

    def summarize(self, unit, state):
        return self.generate(unit, state)[0]


class Reward(Worker):
    def probe(self):
        return None

    def score(self, rollouts, version=None, before=None):
        raw = rollouts.logprobs.sum(dim=1)
        scores, old = (raw * weight_of(one) for one in (version, before))
        watched, number = {"toxicity": raw}, version.number if version else 0
        old = old if before else torch.zeros(0)
        return Scores(rollouts.unit.key, scores, {"classifier": raw}, raw.isnan(), watched, number, old)

    def try_out(self, now, proposed, part, *anchors):
        return Trial(proposed) if proposed.parts[part].weight > 0 else Refusal(("weight: is not positive",))

    def judge(self, rollouts, *reward):
        scores = self.score(rollouts).scores.tolist()
        names = [m.name for m in (*TOXICITY, *SHAPE) if not m.name.startswith("kl")] + ["score", *ROUGE]
        return [
            {"row": row, "text": text, **dict.fromkeys(names, score)}
            for row, text, score in zip(rollouts.unit.rows, rollouts.texts, scores, strict=True)
        ]


class Reference(Worker):
    def divergence(self, rollouts, state):
        return dict.fromkeys(("kl_k1", "kl_k3"), self.logprobs(rollouts, state).logprobs.sum(dim=1).tolist())

    def logprobs(self, rollouts, state):
        logprobs = rollouts.logprobs * state.adapter["weight"]
        return RefLogprobs(rollouts.unit.key, logprobs, logprobs[:, :, None][:, :, :0])


class Learner(Worker):
    def describe(self):
        return {"trainable": 1, "total": 1, "trainable_with_value_head": 1, "dtype": "float32", "fingerprint": [0.0],
                "value_head_kept": False}  # fmt: skip

    def initial_state(self):
        policy = PolicyState(0, {"weight": torch.ones(1)}, {"bias": torch.zeros(1)})
        return policy, LearnerState(0, {}, 0.2, ScoreMoments(), 0)

    def update(self, policy, learner, *parts):
        weight, applied = policy.adapter["weight"].double(), []
        for rollouts, old, scores, reference in zip(*[iter(parts)] * 4, strict=True):
            assert rollouts.unit.key == old.key == scores.key == reference.key
            assert rollouts.version == max(0, policy.version - self.run_ahead)
            applied.append(rollouts.unit.index)
            weight = (weight * 1.1 + scores.scores.sum() + reference.logprobs.sum()).cos() + 2
        assert applied == list(range(len(applied))) and parts[0].unit.step == policy.version
        version = policy.version + 1
        metrics = {"objective/kl_k3": 0.0, "objective/kl": 0.0, "rollout/logprob_gap": 0.0, "tokens/completions": 8,
                   "reward/mean": weight.item(), "watch/toxicity": 0.0, "units": len(applied)}  # fmt: skip
        state = PolicyState(version, {"weight": weight.float()}, policy.value_head)
        return state, LearnerState(version, {}, 0.2, ScoreMoments(), 0), metrics
