"""Supervised fine-tuning on Ray Train: its settings and examples, from the config."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from cluster.ray_train import TrainJob, run
from configs.schema import Config
from learner.family import read_prefix
from learner.settings import SftSettings
from learner.sft import Examples, Pair, fit
from learner.targets import target_ids
from workers.data.prompts import Prompt, make_prompts, read_rows
from workers.rouge import ROUGE_TYPES, make_scorer


def run_sft(config: Config, folder: Path) -> None:
    """Train, on Ray or in this process, and write the adapter to the folder, to which all workers need access.

    Raises `UsageError` if the workers do not fit the cluster, `RunError` if training fails.
    """
    run(TrainJob("supervised fine-tuning", "sft", _train), config, folder)


def _train(config: Config, folder: Path, device: str) -> None:
    fit(sft_settings(config, device), examples(config), folder)


def sft_settings(config: Config, device: str = "cpu") -> SftSettings:
    """Settings of supervised fine-tuning."""
    rollout = config.rollout
    return SftSettings(config.policy, config.sft, rollout.max_new_tokens, rollout.unit_size, config.seed, device)


def examples(config: Config) -> Examples:
    """Each reference of the training split with its prompt, and the first prompts of the validation split."""
    tokenizer, data = AutoTokenizer.from_pretrained(config.policy.model), config.data
    own = read_prefix("policy.model", config.policy.model)
    train, validation = (
        make_prompts(read_rows(data, split), data, tokenizer, own_prefix=own)
        for split in (data.train_split, data.validation_split)
    )
    validation = validation[: config.sft.eval_rows]

    def pair(prompt: Prompt, text: str) -> Pair:
        prefix = prompt.decoder_prefix or own
        return prompt.token_ids, prefix, target_ids(tokenizer, text, prefix)

    def rouge(texts: Sequence[str]) -> dict[str, float]:
        score = make_scorer()
        scores = [score(prompt.references, text) for prompt, text in zip(validation, texts, strict=True)]
        return {name: 100 * float(np.mean([found[name] for found in scores])) for name in ROUGE_TYPES}

    return Examples(
        train=[pair(prompt, reference) for prompt in train for reference in prompt.references],
        validation=[pair(prompt, prompt.references[0]) for prompt in validation],
        rouge=rouge,
    )
