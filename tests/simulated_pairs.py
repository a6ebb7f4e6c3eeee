"""Pairs of the quickstart's own summaries, preferred by its reward model: python -m tests.simulated_pairs OUT PROMPTS.

A simulated preference of known rule, the less toxic summary, for tests and for the figures of docs/preferences.md.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from cluster.plan import make_unit
from learner.policy import Policy
from learner.seeds import seed_from
from tests.conftest import read_prompts, settings_of, small_config
from workers.preferences.simulated_annotators import SimulatedQuestion
from workers.reward.worker import RewardWorker
from workers.rollout.worker import RolloutWorker

UNIT = 25


def sampled_questions(count: int, seed: int = 0) -> Iterator[tuple[SimulatedQuestion, tuple[float, float]]]:
    """Two samples for each of the first prompts to train on, and the reward of both."""
    config = small_config(rollout__max_new_tokens=48)
    prompts = read_prompts(config, "train")[:count]
    sampler, judge = RolloutWorker(settings_of(config, "rollout")), RewardWorker(settings_of(config, "reward"))
    state = Policy(config.policy, config.seed).state(0)
    for start in range(0, count, UNIT):
        rows = [row for row in range(start, min(start + UNIT, count)) for _ in range(2)]
        unit = make_unit(prompts, rows, (0, start), seed_from(seed, "pairs", start))
        rollouts, _ = sampler.generate(unit, state)
        scores = judge.score(rollouts).scores.tolist()
        for i in range(0, len(rows), 2):
            texts, reference = rollouts.texts[i : i + 2], prompts[rows[i]].references[0]
            question = SimulatedQuestion(f"train-{rows[i]}", unit.prompts[i], *texts, "base", "base", reference)
            yield question, (scores[i], scores[i + 1])


def simulated_pairs(count: int, seed: int = 0) -> list[dict]:
    """The summary with the higher reward chosen; ties if equal."""
    pairs = []
    for question, (first, second) in sampled_questions(count, seed):
        texts = (question.first, question.second) if first >= second else (question.second, question.first)
        tie = texts[0] == texts[1] or first == second
        pairs.append({"prompt": question.prompt, "chosen": texts[0], "rejected": texts[1], "tie": tie})
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
