"""Supervised fine-tuning of a LoRA adapter with transformers' Seq2SeqTrainer, in one process or in several."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import nn
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    EvalPrediction,
    GenerationConfig,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    set_seed,
)

from configs.sft import SftConfig
from learner.adapter import tensors_sha256
from learner.atomic_files import replace_file
from learner.family import end_ids, start_token
from learner.lora import with_adapter
from learner.pretrained import load_model
from learner.settings import SftSettings
from learner.targets import Collator, as_example, prefix_length, with_end
from learner.trainer_log import TrainerLog, newest, read_log, trainer_options

RESULT, LOG = "sft.json", "sft.jsonl"
LINES = 20
"""Approximate number of lines with the loss over the whole training."""

Rouge = Callable[[Sequence[str]], dict[str, float]]
"""Summaries of the validation prompts, in order -> ROUGE scores in percent."""


Pair = tuple[Sequence[int], Sequence[int], Sequence[int]]
"""Token ids of a prompt, of what the decoder reads before the summary, and of the summary without its end."""


@dataclass(frozen=True)
class Examples:
    """Training and validation examples."""

    train: Sequence[Pair]
    validation: Sequence[Pair]
    rouge: Rouge


def fit(settings: SftSettings, examples: Examples, folder: Path) -> None:
    """Train to the end, from the newest complete checkpoint in `folder` if there is one.

    Writes checkpoints/, sft.jsonl (a line per loss or evaluation), adapter/ (a PEFT directory) and, last, sft.json.
    """
    set_seed(settings.seed)
    trainer = make_trainer(settings, examples, folder)
    trainer.train(resume_from_checkpoint=newest(folder))
    if trainer.is_world_process_zero():
        _finish(settings.seed, trainer, folder)


def make_trainer(settings: SftSettings, examples: Examples, folder: Path) -> Seq2SeqTrainer:
    """The trainer of a new adapter, or of `policy.adapter`, that writes into `folder`."""
    tokenizer = AutoTokenizer.from_pretrained(settings.policy.model)
    model = _model(settings, tokenizer)
    base, most = model.get_base_model(), settings.sft.max_target_tokens
    ends = base.generation_config.eos_token_id
    trainer = PrefixTrainer(
        model=model,
        args=_arguments(settings, len(examples.train), folder),
        train_dataset=_dataset(examples.train, ends, most),
        eval_dataset=_dataset(examples.validation, ends, most),
        data_collator=Collator(base, tokenizer.pad_token_id),
        compute_metrics=lambda prediction: examples.rouge(_texts(prediction, tokenizer, len(examples.validation))),
        callbacks=[TrainerLog(folder / LOG, _sizes(model), ("loss", "eval_rougeL"))],
    )
    trainer.remove_callback(PrinterCallback)  # TrainerLog writes what it would print
    return trainer


class PrefixTrainer(Seq2SeqTrainer):
    """A trainer whose summaries for validation begin as its targets do."""

    def prediction_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **options: Any) -> tuple:
        """Loss, generated ids [B, T] without their prefix, and labels."""
        inputs = self._prepare_inputs(inputs)
        length = prefix_length(inputs["labels"])
        options["decoder_input_ids"] = inputs["decoder_input_ids"][:, :length]
        loss, generated, labels = super().prediction_step(model, inputs, *args, **options)
        return loss, None if generated is None else generated[:, length:].contiguous(), labels


def _model(settings: SftSettings, tokenizer: PreTrainedTokenizerBase) -> PeftModel:
    policy, device = settings.policy, torch.device(settings.device)
    base = load_model(AutoModelForSeq2SeqLM, "policy.model", policy.model, device, policy.dtype)
    # Replaces the model's own generation config, which could forbid or force tokens.
    base.generation_config = GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
        decoder_start_token_id=start_token("policy.model", base.config, base.generation_config),
        eos_token_id=list(end_ids("policy.model", base, tokenizer)),
        pad_token_id=tokenizer.pad_token_id,
    )
    return with_adapter(base, policy)


def _sizes(model: PeftModel) -> dict[str, int]:
    trainable, total = model.get_nb_trainable_parameters()
    return {"trainable": trainable, "total": total}


def total_steps(sft: SftConfig, rows: int) -> int:
    """Number of updates for a training split of `rows` examples."""
    per_worker = sft.batch_size // sft.workers
    return math.ceil(sft.epochs * math.ceil(math.ceil(rows / sft.workers) / per_worker))


def _arguments(settings: SftSettings, rows: int, folder: Path) -> Seq2SeqTrainingArguments:
    sft, total = settings.sft, total_steps(settings.sft, rows)
    return Seq2SeqTrainingArguments(
        **trainer_options(folder, total, sft.evals, LINES),
        learning_rate=sft.learning_rate,
        per_device_train_batch_size=sft.batch_size // sft.workers,
        per_device_eval_batch_size=settings.eval_batch_size,
        predict_with_generate=True,
        seed=settings.seed,
        use_cpu=settings.device == "cpu",
        label_names=["labels"],
    )


def _dataset(pairs: Sequence[Pair], ends: Sequence[int], most: int) -> datasets.Dataset:
    return datasets.Dataset.from_list(
        [as_example(ids, prefix, with_end(target, ends, most)) for ids, prefix, target in pairs]
    )


def _texts(prediction: EvalPrediction, tokenizer: PreTrainedTokenizerBase, rows: int) -> list[str]:
    """Decoded predictions, without the repeated prompts with which several workers fill up the last batch."""
    ids = np.where(prediction.predictions < 0, tokenizer.pad_token_id, prediction.predictions)
    return tokenizer.batch_decode(ids, skip_special_tokens=True)[:rows]


def _finish(seed: int, trainer: Seq2SeqTrainer, folder: Path) -> None:
    model = trainer.model
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    tensors = {
        name: t.detach().cpu() for name, t in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    last = next(line for line in reversed(read_log(folder / LOG)) if "eval_rougeL" in line)
    result = {
        "steps": trainer.state.global_step,
        "validation": {name.removeprefix("eval_"): value for name, value in last.items() if "rouge" in name},
        "adapter_sha256": tensors_sha256(tensors),
        "seed": seed,
        "torch": torch.__version__,
    }
    replace_file(folder / RESULT, json.dumps(result, indent=2).encode())
