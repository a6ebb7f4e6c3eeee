"""From preferences to a better policy, three ways: python -m tests.preference_study OUT [--seeds 1 2 3].

Simulated annotators, who like polite and short summaries and often err, compare the quickstart's own. On the same
answers a reward model and PPO, DPO, and best-of-n by the reward model follow. An oracle, the same taste without errors,
says which of their summaries of held-out dialogues it prefers to the base policy's. docs/preferences.md has the
figures.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

import ray_job
from configs.reward_parts import ClassifierReward
from configs.rewards import RewardConfig
from service.run.held_out_summaries import read_summaries
from tests.conftest import small_config
from tests.simulated_pairs import sampled_questions
from workers.preferences.judgements import Judgement
from workers.preferences.simulated_annotators import SimulatedAnnotator, SimulatedQuestion, ceiling
from workers.preferences.statistics import judge
from workers.preferences.training_pairs import judgements_to_preferences
from workers.preferences.writing import write_preferences
from workers.reward.items import Item
from workers.reward.rewards import Rewards

INLINE = "--cluster.backend=inline"
CALM, PER_WORD = 4.0, 0.25
"""Bound of the classifier's logit in the taste, and what a word costs there."""
ROWS, SAMPLES, BEST_OF = 100, 8, 4
CPU = torch.device("cpu")


@cache
def politeness() -> Rewards:
    """The quickstart's reward."""
    return Rewards(small_config().reward, CPU)


@cache
def taste(prompt: str, completion: str, reference: str) -> float:
    """Polite and short is better."""
    logit = politeness()([Item(completion)]).total.item()
    return max(-CALM, min(CALM, logit)) - PER_WORD * len(completion.split())


ORACLE = SimulatedAnnotator("oracle", taste, temperature=0.0)


def annotators(seed: int) -> list[SimulatedAnnotator]:
    """Two who share the taste, err, call close pairs a tie, and like what is shown first a little."""
    return [SimulatedAnnotator(name, taste, 1.0, 0.3, 0.1, seed) for name in ("ann", "bob")]


def collect(out: Path, prompts: int, seed: int) -> dict[str, float]:
    """Write pairs.jsonl with two answers to each question; returns the ceiling of what can be learnt."""
    asked = [question for question, _ in sampled_questions(prompts, seed) if question.first != question.second]
    people = annotators(seed)
    answers = [
        person.answer(replace(question, swapped=bool((number + i) % 2)))
        for number, question in enumerate(asked)
        for i, person in enumerate(people)
    ]
    write_preferences(judgements_to_preferences(answers), out / "pairs.jsonl")
    return {"questions": len(asked), "answers": len(answers), **asdict(ceiling(people, asked))}


def run(*words: str) -> None:
    """A command, which has to succeed."""
    assert ray_job.main(list(map(str, words))) == 0, words


def learn(out: Path, seed: int) -> None:
    """The reward model, PPO on it, DPO, and summaries of held-out dialogues by each policy."""
    pairs, shared = f"--pairs={out / 'pairs.jsonl'}", [INLINE, f"--seed={seed}"]
    run("train-reward", pairs, f"--out={out / 'reward'}", *shared)
    result = json.loads((out / "reward/reward_model.json").read_bytes())
    scale = {"mean": result["scores"]["mean"], "std": result["scores"]["std"]}
    part = {"type": "classifier", "model": str(out / "reward"), "probe": None, "standardise": scale}
    few = [f"--evaluation.rows={ROWS}", f"--evaluation.samples={SAMPLES}", "--evaluation.second_judge=null"]
    learnt = [f"--reward.parts.learnt={json.dumps(part)}", "--reward.parts.classifier.weight=0"]
    run("train", f"--out={out / 'ppo'}", *learnt, *few, *shared)
    run("dpo", pairs, f"--out={out / 'dpo'}", *shared)
    run("evaluate", "base", f"ppo={out / 'ppo'}", f"dpo={out / 'dpo'}", f"--out={out / 'held_out'}", *few, *shared)


def summaries(out: Path) -> dict[str, np.ndarray]:
    """Sampled summaries [rows, samples] of each policy; those of best-of-n are of the base policy's other samples."""
    table = read_summaries(out / "held_out", ["base", "ppo", "dpo"])
    sampled = table[table["decoding"] == "sampled"]
    found = {
        name: part.pivot(index="row", columns="sample", values="text").to_numpy()
        for name, part in sampled.groupby("policy")
    }
    model = ClassifierReward(model=str(out / "reward"), probe=None)
    reward = Rewards(RewardConfig(parts={"learnt": model}), CPU)
    candidates = found["base"].reshape(ROWS, SAMPLES // BEST_OF, BEST_OF)
    scores = reward([Item(text) for text in candidates.flatten()]).total.numpy().reshape(candidates.shape)
    best = np.take_along_axis(candidates, scores.argmax(axis=2)[..., None], axis=2)[..., 0]
    # Compared with samples that it did not choose from: the first group's best with the second group's, and vice versa.
    against = candidates[:, ::-1]
    return {**found, "best_of_n": np.repeat(best, BEST_OF, axis=1), "best_of_n against": against.reshape(ROWS, SAMPLES)}


def verdicts(out: Path, seed: int) -> dict[str, dict]:
    """For each way: how often the oracle prefers its summary to the base policy's, by dialogue."""
    texts, found = summaries(out), {}
    for name in ("ppo", "dpo", "best_of_n"):
        against = texts.get(f"{name} against", texts["base"])
        answers = [a for row in range(ROWS) for a in _answers(name, row, texts[name][row], against[row])]
        [comparison] = judge(answers, seed).comparisons
        found[name] = asdict(comparison.win_rate)
        found[name]["words"] = float(np.mean([len(text.split()) for text in texts[name].flatten()]))
        found[name]["taste"] = float(np.mean([taste("", text, "") for text in texts[name].flatten()]))
    base = texts["base"].flatten()
    found["base"] = {"taste": float(np.mean([taste("", text, "") for text in base]))}
    return found


def _answers(name: str, row: int, own: Sequence[str], others: Sequence[str]) -> list[Judgement]:
    """The oracle's answers for one dialogue: they share a question, so that dialogues are what is resampled."""
    texts = zip(own, others, strict=True)
    return [
        replace(ORACLE.answer(SimulatedQuestion(str(row), "", mine, theirs, name, "base", role="evaluation")),
                annotator=f"oracle {sample}")
        for sample, (mine, theirs) in enumerate(texts)
    ]  # fmt: skip


def main() -> None:
    """Each seed in turn; prints a JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--prompts", type=int, default=400)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in given.seeds:
        out = given.out / str(seed)
        out.mkdir(parents=True)
        collected = collect(out, given.prompts, seed)
        learn(out, seed)
        result = json.loads((out / "reward/reward_model.json").read_bytes())
        print(
            json.dumps({"seed": seed, **collected, "accuracy": result["accuracy"], **verdicts(out, seed)}), flush=True
        )


if __name__ == "__main__":
    main()
