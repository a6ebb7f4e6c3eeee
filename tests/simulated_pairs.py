"""Pairs of the quickstart's own summaries, preferred by its reward model: python -m tests.simulated_pairs OUT PROMPTS.

A simulated preference of known rule, the less toxic summary, for tests and for the figures of docs/preferences.md.
"""

import json
import sys
from pathlib import Path

import torch

from cluster.plan import make_unit
from learner.policy import Policy
from learner.seeds import seed_from
from tests.conftest import read_prompts, settings_of, small_config
from workers.reward.worker import RewardWorker
from workers.rollout.worker import RolloutWorker

UNIT = 25


def simulated_pairs(count: int, seed: int = 0) -> list[dict]:
    """Two samples for each of the first prompts to train on, the one with the higher reward chosen; ties if equal."""
    config = small_config(rollout__max_new_tokens=48)
    prompts = read_prompts(config, "train")[:count]
    sampler, judge = RolloutWorker(settings_of(config, "rollout")), RewardWorker(settings_of(config, "reward"))
    state = Policy(config.policy, config.seed).state(0)
    pairs = []
    for start in range(0, count, UNIT):
        rows = [row for row in range(start, min(start + UNIT, count)) for _ in range(2)]
        unit = make_unit(prompts, rows, (0, start), seed_from(seed, "pairs", start))
        rollouts, _ = sampler.generate(unit, state)
        scores = judge.score(rollouts).scores.tolist()
        for i in range(0, len(rows), 2):
            better, worse = sorted((i, i + 1), key=lambda k: -scores[k])
            texts = rollouts.texts[better], rollouts.texts[worse]
            tie = texts[0] == texts[1] or scores[better] == scores[worse]
            pairs.append({"prompt": unit.prompts[i], "chosen": texts[0], "rejected": texts[1], "tie": tie})
    return pairs


def write(path: Path, rows: list[dict]) -> Path:
    """The rows as jsonl."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def main(out: str, count: str = "1000", seed: str = "0") -> None:
    """Write the pairs."""
    torch.set_num_threads(1)
    write(Path(out), simulated_pairs(int(count), int(seed)))


if __name__ == "__main__":
    main(*sys.argv[1:])
