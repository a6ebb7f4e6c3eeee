"""The plan: which prompts make up which unit, fixed by the settings alone."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from configs.evaluation import EvaluationConfig
from learner.seeds import seed_from
from learner.types import WorkUnit
from workers.data.prompts import Kept, Prompt

ANCHORS = 64
"""Prompts in the anchor set of a reward that changes."""
BEFORE_ANY = -1
"""The step of units that belong to none."""


@dataclass(frozen=True)
class PlanSettings:
    """Everything besides its prompts that the units of a run depend on."""

    seed: int
    batch_size: int  # completions per step
    unit_size: int  # completions per unit
    group_size: int  # completions per prompt
    evaluation: EvaluationConfig


class Plan:
    """All units of a run, made on demand."""

    def __init__(
        self,
        settings: PlanSettings,
        train: Sequence[Prompt],
        held_out: Sequence[Prompt],
        splits: Mapping[str, Kept[Prompt]] | None = None,
    ) -> None:
        """`train`: prompts to train on; `held_out`: prompts to evaluate on, cut to `evaluation.rows`.

        `splits`: by name, what was kept of the splits that these are from.
        """
        self.splits = splits or {}
        self.settings = settings
        self.train = train
        self.held_out = held_out[: settings.evaluation.rows]
        self.hashes = {"train_rows_sha256": prompts_sha256(train), "held_out_rows_sha256": prompts_sha256(held_out)}

    def units(self, step: int) -> list[WorkUnit]:
        """The units of a training step: the next prompts of endless shuffled passes, `group_size` times each."""
        size, seed, group_size = len(self.train), self.settings.seed, self.settings.group_size
        count = self.settings.batch_size // group_size
        positions = range(step * count, (step + 1) * count)
        passes = {p: self._shuffled(p) for p in {position // size for position in positions}}
        rows = [passes[position // size][position % size] for position in positions for _ in range(group_size)]
        return [
            make_unit(self.train, chunk, (step, index), seed_from(seed, "rollout", step, index))
            for index, chunk in enumerate(_chunks(rows, self.settings.unit_size))
        ]

    def evaluation_units(self) -> list[WorkUnit]:
        """The held-out prompts, once per sample and then once by `evaluation.decoding`; `step` numbers the passes."""
        evaluation = self.settings.evaluation
        # Prompts of similar length share a unit, which reduces padding.
        rows = sorted(range(len(self.held_out)), key=lambda row: (len(self.held_out[row].token_ids), row))
        units = [
            make_unit(self.held_out, chunk, (sample, index), seed_from(evaluation.seed, "evaluation", sample, index))
            for sample in range(evaluation.samples + 1)
            for index, chunk in enumerate(_chunks(rows, evaluation.unit_size))
        ]
        return [replace(u, decoding=evaluation.decoding) if u.step == evaluation.samples else u for u in units]

    def anchor_units(self) -> list[WorkUnit]:
        """Training prompts, the same at any step, whose completions tell the scale of a reward."""
        seed, size = self.settings.seed, self.settings.unit_size
        generator = torch.Generator().manual_seed(seed_from(seed, "anchors"))
        rows = torch.randperm(len(self.train), generator=generator).tolist()[:ANCHORS]
        return [
            make_unit(self.train, chunk, (BEFORE_ANY, index), seed_from(seed, "anchors", index))
            for index, chunk in enumerate(_chunks(rows, size))
        ]

    def sha256(self) -> str:
        """Hash of all prompts with their references, groups and columns."""
        return prompts_sha256([*self.train, *self.held_out])

    def counts(self) -> dict[str, Any]:
        """Rows, prompts, and rows left out by reason, of each split."""
        return {name: split.counts() for name, split in self.splits.items()}

    def _shuffled(self, number: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed_from(self.settings.seed, "shuffle", number))
        return torch.randperm(len(self.train), generator=generator).tolist()


def make_unit(prompts: Sequence[Prompt], rows: Sequence[int], key: tuple[int, int], seed: int) -> WorkUnit:
    """The unit of the prompts at `rows`, padded on the right to the longest of them; `key` is (step, index)."""
    chosen = [prompts[row] for row in rows]
    ids = [prompt.token_ids for prompt in chosen]
    width = max(map(len, ids))
    prompt_ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in ids])
    lengths: Tensor = torch.tensor([len(row) for row in ids])
    mask = torch.arange(width) < lengths.unsqueeze(1)
    return WorkUnit(
        step=key[0],
        index=key[1],
        seed=seed,
        rows=tuple(rows),
        groups=tuple(prompt.group for prompt in chosen),
        prompts=tuple(prompt.text for prompt in chosen),
        references=tuple(prompt.references for prompt in chosen),
        columns=tuple(prompt.row for prompt in chosen),
        prompt_ids=prompt_ids,
        prompt_mask=mask,
        decoder_prefix=torch.tensor([prompt.decoder_prefix for prompt in chosen], dtype=torch.long),
    )


def prompts_sha256(prompts: Sequence[Prompt]) -> str:
    """Hash of prompts with their references, groups and columns, which rewards may read."""
    digest = hashlib.sha256()
    for prompt in prompts:
        row, prefix = sorted(prompt.row.items()), [prompt.decoder_prefix] if prompt.decoder_prefix else []
        digest.update(repr((prompt.token_ids, prompt.references, prompt.group, row, *prefix)).encode())
    return digest.hexdigest()


def _chunks(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
