"""The plan of learning from preferences: which examples make up which unit, fixed by the settings alone."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from learner.preferences.unit import HELD_OUT, Batch, PreferenceUnit
from learner.seeds import seed_from
from workers.preferences.examples import Example, Examples


@dataclass(frozen=True)
class PreferencePlanSettings:
    """Everything besides its examples that the units of a run depend on."""

    seed: int
    batch_size: int
    microbatch_size: int | None
    epochs: float
    decoder_prefix: tuple[int, ...] = ()  # (): as the model's config says


class PreferencePlan:
    """All units of a run, made on demand."""

    def __init__(
        self, settings: PreferencePlanSettings, found: Examples, train: Sequence[Example], held_out: Sequence[Example]
    ) -> None:
        """`train` and `held_out`: the parts of what was found."""
        self.settings, self.found, self.train, self.held_out = settings, found, train, held_out
        self.batches = math.ceil(len(train) / settings.batch_size)  # of a pass; the last may be smaller
        self.steps = math.ceil(settings.epochs * self.batches)
        self.hashes = {"train_rows_sha256": _sha256(train), "held_out_rows_sha256": _sha256(held_out)}

    def units(self, step: int) -> list[PreferenceUnit]:
        """The units of a step: the next batch of a shuffled pass, split into microbatches by length."""
        number, batch = divmod(step, self.batches)
        generator = torch.Generator().manual_seed(seed_from(self.settings.seed, "preferences", number))
        order = torch.randperm(len(self.train), generator=generator).tolist()
        size = self.settings.batch_size
        return self._units(self.train, order[batch * size : (batch + 1) * size], step)

    def held_out_units(self) -> list[PreferenceUnit]:
        """The held-out examples, as one batch."""
        return self._units(self.held_out, range(len(self.held_out)), HELD_OUT)

    def first_units(self) -> list[PreferenceUnit]:
        """Units that hold every example the run needs once, held-out ones last: those of the first pass.

        With the reference's log-probabilities of these very units, those of the first update are the same to the bit.
        """
        trained = [unit for step in range(min(self.steps, self.batches)) for unit in self.units(step)]
        return [*trained, *self.held_out_units()]

    def sha256(self) -> str:
        """Hash of all examples."""
        return _sha256([*self.train, *self.held_out])

    def counts(self) -> dict[str, Any]:
        """Rows, examples, and rows left out by reason."""
        kept = {"train": len(self.train), "held_out": len(self.held_out)}
        return {"rows": self.found.rows, **kept, "left_out": dict(self.found.left_out)}

    def _units(self, examples: Sequence[Example], rows: Sequence[int], step: int) -> list[PreferenceUnit]:
        # Examples of similar length share a unit, which reduces padding.
        ordered = sorted(rows, key=lambda row: (-_width(examples[row]), row))
        size = self.settings.microbatch_size or self.settings.batch_size
        batch = Batch(len(ordered), sum(len(examples[row].completions[0]) for row in ordered))
        chunks = [ordered[i : i + size] for i in range(0, len(ordered), size)]
        return [self._unit(examples, chunk, (step, index), batch) for index, chunk in enumerate(chunks)]

    def _unit(
        self, examples: Sequence[Example], rows: Sequence[int], key: tuple[int, int], batch: Batch
    ) -> PreferenceUnit:
        chosen = [examples[row] for row in rows]
        prompt_ids, prompt_mask = _padded([example.prompt_ids for example in chosen])
        ids, mask = _padded([completion for example in chosen for completion in example.completions])
        prefix = torch.tensor([self.settings.decoder_prefix] * len(chosen), dtype=torch.long)
        targets = torch.tensor([example.target for example in chosen])
        return PreferenceUnit(*key, tuple(rows), prompt_ids, prompt_mask, prefix, ids, mask, targets, batch)


def _width(example: Example) -> int:
    return len(example.prompt_ids) + max(map(len, example.completions))


def _padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [B, W], padded with zeros on the right, and their mask."""
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    lengths = torch.tensor([[len(row)] for row in rows])
    return ids, torch.arange(ids.shape[1]) < lengths


def _sha256(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.prompt_ids, example.completions, example.target)).encode())
    return digest.hexdigest()
