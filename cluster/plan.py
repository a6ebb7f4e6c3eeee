"""The plan: which prompts are worked on in which unit, fixed by the config alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from configs.schema import Config
from learner.seeds import seed_from
from learner.types import WorkUnit
from workers.prompts import Prompt


class Plan:
    """All the units of a run, made when asked for."""

    def __init__(self, config: Config, train: Sequence[Prompt], held_out: Sequence[Prompt]) -> None:
        """`train` are prompts to learn from; of `held_out`, the first `evaluation.rows` are those to be judged on."""
        self.config = config
        self.train = train
        self.held_out = held_out[: config.evaluation.rows]

    def units(self, step: int) -> list[WorkUnit]:
        """The units of a training step: the next `batch_size` prompts of an endless row of shuffled passes."""
        size, rollout = len(self.train), self.config.rollout
        places = range(step * rollout.batch_size, (step + 1) * rollout.batch_size)
        passes = {p: self._shuffled(p) for p in {place // size for place in places}}
        rows = [passes[place // size][place % size] for place in places]
        return [
            make_unit(self.train, chunk, step, index, seed_from(self.config.seed, "rollout", step, index))
            for index, chunk in enumerate(_chunks(rows, rollout.unit_size))
        ]

    def evaluation_units(self) -> list[WorkUnit]:
        """The held-out prompts, once per sample; `step` is the sample's number."""
        evaluation = self.config.evaluation
        # Prompts of like length share a unit, so that little of it is padding.
        rows = sorted(range(len(self.held_out)), key=lambda row: (len(self.held_out[row].token_ids), row))
        return [
            make_unit(self.held_out, chunk, sample, index, seed_from(evaluation.seed, "evaluation", sample, index))
            for sample in range(evaluation.samples)
            for index, chunk in enumerate(_chunks(rows, evaluation.unit_size))
        ]

    def _shuffled(self, number: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed_from(self.config.seed, "shuffle", number))
        return torch.randperm(len(self.train), generator=generator).tolist()


def make_unit(prompts: Sequence[Prompt], rows: Sequence[int], step: int, index: int, seed: int) -> WorkUnit:
    """The unit of the prompts at `rows`, padded on the right to the longest of them."""
    ids = [prompts[row].token_ids for row in rows]
    width = max(map(len, ids))
    prompt_ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in ids])
    lengths: Tensor = torch.tensor([len(row) for row in ids])
    mask = torch.arange(width) < lengths.unsqueeze(1)
    return WorkUnit(step, index, seed, tuple(rows), tuple(prompts[row].text for row in rows), prompt_ids, mask)


def _chunks(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
