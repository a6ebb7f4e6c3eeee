"""Supervised fine-tuning on Ray Train: the same function in as many processes as the config requests."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from transformers import AutoTokenizer
from transformers.utils import logging

from cluster.layout import LayoutRequest, resolve
from cluster.placement import Machine, fits, total
from cluster.ray_cluster import connected
from configs.errors import RunError, UsageError
from configs.load import validate
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
    folder = folder.resolve()
    if config.cluster.backend == "inline":
        device = resolve(LayoutRequest.of(config), [Machine.here()])["learner"].device
        _train(config, folder, device)
        return
    with connected(config.cluster.address) as machines:
        cpus, gpus = _share(config, machines)
        trainer = TorchTrainer(
            train_loop,
            train_loop_config={
                "config": config.model_dump(mode="json"),
                "folder": str(folder),
                "root": str(Path.cwd()),
                "device": "cuda" if gpus else "cpu",
            },
            scaling_config=_scaling(config.sft.workers, cpus, gpus, machines),
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
            # The loss of one worker stops all of them; they restart from the newest checkpoint.
            run_config=RunConfig(
                name="train",
                storage_path=str(folder / "ray"),
                failure_config=FailureConfig(max_failures=config.cluster.attempts - 1),
            ),
        )
        try:
            trainer.fit()
        except Exception as error:  # Ray Train has an exception type for each kind of failure
            reason = [line for line in str(error).splitlines() if line.strip()][-1]
            raise RunError(f"supervised fine-tuning failed: {reason}") from error


def _share(config: Config, machines: Sequence[Machine]) -> tuple[float, float]:
    """CPUs and GPUs of a worker: as many as a learner has, but a whole GPU if a learner has any share of one."""
    learner = resolve(LayoutRequest.of(config), machines)["learner"]
    cpus = learner.threads if config.cluster.resources.learner.cpus == "auto" else learner.cpus
    return cpus, int(learner.gpus > 0)


def _scaling(workers: int, cpus: float, gpus: float, machines: Sequence[Machine]) -> ScalingConfig:
    if not fits([(cpus, gpus)] * workers, machines):
        raise UsageError(
            f"sft.workers: {workers} workers with {cpus:g} CPU and {gpus:g} GPU each do not fit the "
            f"cluster, which has {total(machines)}; lower sft.workers or cluster.resources.learner.cpus"
        )
    resources = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
    return ScalingConfig(num_workers=workers, use_gpu=bool(gpus), resources_per_worker=resources)


def train_loop(settings: dict) -> None:
    """Train in one worker of Ray Train; `settings` is its `train_loop_config`."""
    os.chdir(settings["root"])  # Ray Train changes the current folder, but paths of models and data may be relative
    _train(validate(settings["config"]), Path(settings["folder"]), settings["device"])


def _train(config: Config, folder: Path, device: str) -> None:
    logging.set_verbosity_error()
    torch.set_num_threads(config.cluster.resources.learner.threads)
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
