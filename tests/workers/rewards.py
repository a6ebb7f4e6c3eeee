"""What the tests of rewards share: functions as users write them, parts by their settings, and small classifiers."""

import asyncio
import math
from pathlib import Path

import torch
from transformers import AutoTokenizer, RobertaConfig, RobertaForSequenceClassification

from configs.reward_parts import Part
from configs.rewards import RewardConfig
from workers.reward.items import Reward
from workers.reward.parts import make_reward
from workers.reward.rewards import Rewards

CPU = torch.device("cpu")
MODEL = "quickstart/reward"


def nice(prompts, completions, references):
    return [1.0 if "thanks" in text else 0.0 for text in completions]


def picky(completions, **columns):
    if any("idiot" in text for text in completions):
        raise RuntimeError("rude!")
    return [2.0] * len(completions)


def short(completions, **columns):
    return [1.0] * (len(completions) - 1) if len(completions) > 1 else [1.0]


def undefined(completions, **columns):
    return [math.nan if text.endswith("b") else 1.0 for text in completions]


def nothing(completions, **columns):
    return [None if text.endswith("b") else 1.0 for text in completions]


def tenth(completions, **columns):
    return [0.1] * len(completions)


def enormous(completions, **columns):
    """Finite, but not in float32."""
    return [1e308 if "idiot" in text else 1.0 for text in completions]


def answers(prompts, completions, answer, **kwargs):
    """As in trl's documentation: whether each completion holds its row's answer."""
    return [1.0 if wanted in text else None for text, wanted in zip(completions, answer, strict=True)]


async def slow_answers(prompts, completions, answer, **kwargs):
    await asyncio.sleep(0)
    return answers(prompts, completions, answer, **kwargs)


def told(**arguments):
    """The number of arguments, so that a test sees which there are."""
    return [float(len(arguments))] * len(arguments["completions"])


def part(**settings: object) -> Part:
    """The settings of a part."""
    return RewardConfig.model_validate({"parts": {"mine": settings}}).parts["mine"]


def reward(**settings: object) -> Reward:
    """The reward of a part's settings; models are in float32."""
    exact = {"dtype": "float32"} if "model" in settings else {}
    return make_reward("reward.parts.mine", part(**exact | settings), CPU)


def rewards(combine: str = "sum", **parts: dict) -> Rewards:
    """A whole reward."""
    return Rewards(RewardConfig.model_validate({"parts": parts, "combine": combine}), CPU)


def function(name: str) -> dict[str, str]:
    """Settings of a part that is a function of this file."""
    return {"type": "function", "function": f"{__name__}:{name}"}


def tiny_classifier(folder: Path, seed: int = 0, **settings: object) -> str:
    """Writes a random RoBERTa with the shipped reward's tokenizer; returns the folder."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL, model_max_length=62)
    torch.manual_seed(seed)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id, initializer_range=0.5, **settings,
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
