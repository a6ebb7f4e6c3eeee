"""The plan of learning a reward model: its pairs, and the models that are trained on them."""

import hashlib
import json
from dataclasses import astuple, dataclass, replace
from functools import cached_property

from configs.errors import UsageError
from configs.schema import Config
from learner.preferences.pairs import Preference
from learner.preferences.trainings import Training, total_steps
from learner.seeds import seed_from
from workers.preferences.encoding import PairReader
from workers.preferences.files import read_preferences
from workers.preferences.splits import Split, part, resampled, split

FIELD = "reward_training.model"
SHARES = {"quarter": 0.25, "half": 0.5}
"""Trainings of the learning curve besides the first member."""
FEW = 5_000
"""Pairs for which the learning curve is cheap."""


@dataclass(frozen=True)
class RewardPlan:
    """The pairs of a config, and what is trained on them."""

    config: Config
    pairs: tuple[Preference, ...]  # of `reward_training.pairs`, whole
    split: Split
    current: tuple[Preference, ...]

    @classmethod
    def of(cls, config: Config) -> "RewardPlan":
        """Reads the files. Raises `UsageError` if one cannot be read, or there are too few pairs."""
        files = {name: _read(config, name) for name in ("pairs", "held_out_pairs", "current_pairs")}
        pairs, training = files["pairs"], config.reward_training
        found = split(pairs, files["held_out_pairs"] or None, training.held_out, config.seed)
        return cls(config, pairs, found, files["current_pairs"])

    def sha256(self) -> str:
        """Hash of all pairs: the same files give the same models."""
        used = [self.split.train, self.split.held_out, self.current]
        return hashlib.sha256(json.dumps([[astuple(pair) for pair in pairs] for pairs in used]).encode()).hexdigest()

    @property
    def own_held_out(self) -> bool:
        """True if the held-out pairs are a share of all, not a file of their own."""
        return self.config.reward_training.held_out_pairs is None

    def counts(self) -> dict[str, int]:
        """Numbers of pairs: given, learnt from, held out, left out and truncated."""
        used = [*self.split.train, *self.split.held_out]
        return {
            "pairs": len(self.pairs),
            "train": len(self.split.train),
            "held_out": len(self.split.held_out),
            "ties": sum(pair.tie for pair in used),
            "same": self.split.same,
            "shared": self.split.shared,
            "truncated": self.reader.truncated(used),
        }

    @cached_property
    def reader(self) -> PairReader:
        """Turns pairs into tokens. Raises `UsageError` if the model cannot become a reward model."""
        return PairReader(FIELD, body(self.config), self.config.reward_training.text)

    @property
    def members(self) -> list[str]:
        """Names of the models that are the result."""
        return [f"member{i}" for i in range(self.config.reward_training.members)]

    def sides(self) -> dict[str, list[Preference]]:
        """The pairs of each training by its name, in the order in which they are trained."""
        config, seed, train = self.config.reward_training, self.config.seed, list(self.split.train)
        curve = len(train) <= FEW if config.learning_curve == "auto" else config.learning_curve
        sides = {name: part(train, share, seed) for name, share in SHARES.items() if curve}
        first, *others = self.members
        return sides | {first: train} | {name: resampled(train, seed_from(seed, name)) for name in others}

    def trainings(self) -> list[Training]:
        """What is trained."""
        made: list[Training] = []
        for name, pairs in self.sides().items():
            # The learning curve ends in the first member: they share their seed.
            seed = seed_from(self.config.seed, self.members[0] if name in SHARES else name) % 2**32
            before = made[-1].before + total_steps(self.config.reward_training, len(made[-1].pairs)) if made else 0
            made.append(Training(name, self.reader.read(pairs), seed, before))
        last = made[-1]
        of_all = last.before + total_steps(self.config.reward_training, len(last.pairs))
        return [replace(training, of_all=of_all) for training in made]


def _read(config: Config, name: str) -> tuple[Preference, ...]:
    path = getattr(config.reward_training, name)
    return tuple(read_preferences(path, f"reward_training.{name}")) if path else ()


def body(config: Config) -> str:
    """The model to start from. Raises `UsageError` if there is none."""
    if named := config.reward_training.model:
        return named
    for _, classifier in config.reward.models():
        return classifier.model
    raise UsageError(f"{FIELD}: name a classifier to start from: no part of the reward is one")
