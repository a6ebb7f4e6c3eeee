"""Training of a reward model on pairs with trl's RewardTrainer, in one process or in several."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoTokenizer, PrinterCallback, set_seed
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from learner.atomic_files import replace_file
from learner.preferences.reward_body import Body, load_body, with_lora
from learner.preferences.reward_loss import pair_loss
from learner.preferences.trainings import MADE, MODEL, EncodedPair, Training, total_steps
from learner.settings import RewardModelSettings
from learner.trainer_log import TrainerLog, newest, trainer_options

FIELD = "reward_training.model"
LINES = 5
"""Approximate number of lines with the loss over one training."""


def fit(settings: RewardModelSettings, training: Training, held_out: Sequence[EncodedPair], root: Path) -> None:
    """Train to the end, from the newest complete checkpoint if there is one; do nothing if the model is made already.

    Writes the log and, in the training's folder, checkpoints/, model/ and, last, made.json.
    """
    folder = training.folder(root)
    if (folder / MADE).exists():
        return
    trainer, body = make_trainer(settings, training, held_out, root)
    trainer.train(resume_from_checkpoint=newest(folder))
    if trainer.is_world_process_zero():
        _finish(trainer, body, folder)


def make_trainer(
    settings: RewardModelSettings, training: Training, held_out: Sequence[EncodedPair], root: Path
) -> "tuple[PairTrainer, Body]":
    """The trainer of a new model, and the model's body."""
    set_seed(training.seed)  # before the head is initialised
    body, lora = load_body(FIELD, settings.model, torch.device("cpu")), settings.training.lora
    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    model = with_lora("reward_training.lora", body, lora, settings.model) if lora else body.model
    sizes = [p.numel() for p in model.parameters() if p.requires_grad], [p.numel() for p in model.parameters()]
    first = {"training": training.name, "before": training.before, "of_all": training.of_all, "new": body.new,
             "trainable": sum(sizes[0]), "total": sum(sizes[1])}  # fmt: skip
    trainer = PairTrainer(
        model=model,
        args=_arguments(settings, training, training.folder(root)),
        train_dataset=_dataset(training.pairs),
        eval_dataset=_dataset(held_out),
        processing_class=tokenizer,
        data_collator=PairCollator(pad_token_id=tokenizer.pad_token_id),
        callbacks=[TrainerLog(training.log(root), first, ("loss", "eval_loss"))],
    )
    trainer.remove_callback(PrinterCallback)  # TrainerLog writes what it would print
    return trainer, body


class PairCollator(DataCollatorForPreference):
    """Pads a batch of pairs: the chosen texts, then the rejected ones, with targets and margins."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """input_ids and attention_mask [2B, T], margin and target [B]."""
        return {**super().torch_call(examples), "target": torch.tensor([example["target"] for example in examples])}


class PairTrainer(RewardTrainer):
    """trl's trainer with ties in the loss."""

    def _set_signature_columns_if_needed(self) -> None:
        """The columns that reach the collator."""
        self._signature_columns = ["chosen_ids", "rejected_ids", "margin", "target"]

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        """The loss of `pair_loss`; records the accuracy on pairs that are no ties, for the log."""
        targets, margins = inputs["target"], inputs["margin"]
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
        loss = pair_loss(chosen, rejected, targets, margins, self.args.center_rewards_coefficient)
        right = (chosen > rejected)[targets == 1]
        if len(right):
            self._metrics["train" if model.training else "eval"]["accuracy"].append(right.float().mean().item())
        return (loss, outputs) if return_outputs else loss

    def _send_telemetry(self) -> None:
        """Nothing: what is trained here is nobody else's business."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: checkpoints are not for the hub."""


def _arguments(settings: RewardModelSettings, training: Training, folder: Path) -> RewardConfig:
    config, total = settings.training, total_steps(settings.training, len(training.pairs))
    return RewardConfig(
        **trainer_options(folder, total, config.evals, LINES),
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size // config.workers,
        per_device_eval_batch_size=config.batch_size,
        prediction_loss_only=True,
        center_rewards_coefficient=config.center_rewards_coefficient,
        max_length=None,  # texts are truncated already, as the reward truncates them
        bf16=False,  # trl would round activations, and recompute them
        gradient_checkpointing=False,
        seed=training.seed,
        use_cpu=settings.device == "cpu",
    )


def _dataset(pairs: Sequence[EncodedPair]) -> datasets.Dataset:
    return datasets.Dataset.from_list([vars(pair) for pair in pairs])


def _finish(trainer: PairTrainer, body: Body, folder: Path) -> None:
    model = trainer.model
    shutil.rmtree(folder / MODEL, ignore_errors=True)
    (model.merge_and_unload() if isinstance(model, PeftModel) else model).save_pretrained(folder / MODEL)
    trainer.processing_class.save_pretrained(folder / MODEL)
    replace_file(folder / MADE, json.dumps({"new": body.new, "steps": trainer.state.global_step}).encode())
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
