"""The network of a reward model: the body of a pretrained encoder, a head with one output, and perhaps adapters."""

from dataclasses import dataclass

import torch
from peft import LoraConfig, TaskType
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from configs.errors import UsageError
from configs.reward_training import RewardLora
from learner.family import lora_targets
from learner.lora import add_layers
from learner.pretrained import one_line

OUTPUT = "reward"
"""Name of the only output."""
POOLER = "pooler"
"""Layer of a body that only classifiers train: BERT's checkpoints of language models lack it."""


@dataclass(frozen=True)
class Body:
    """A model with one output, before it learns."""

    model: PreTrainedModel
    new: tuple[str, ...]  # layers that are initialised at random, because the checkpoint has none of their shape


def load_body(field: str, name: str, device: torch.device) -> Body:
    """The body of a local directory or hub name with a head of one output, in float32, on the CPU or `META`.

    A head with one output is kept. Raises `UsageError` naming `field` if it is no sequence classifier or encoder, or
    lacks weights of its body.
    """
    options = {"device_map": device} if device.type == "meta" else {}
    head = {"num_labels": 1, "id2label": {0: OUTPUT}, "label2id": {OUTPUT: 0}, "problem_type": "regression"}
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            name, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True, **head, **options
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # broken files, and models of other kinds, make the libraries raise all kinds of errors
        raise UsageError(
            f"{field}: {name} cannot be loaded as a sequence classifier, which a reward model is: {one_line(error)}"
        ) from error
    new = {key.rpartition(".")[0] for key in info["missing_keys"]}
    new |= {key.rpartition(".")[0] for key, *_ in info["mismatched_keys"]}
    lost = sorted(layer for layer in new if not _may_be_new(layer, model))
    if lost:
        raise UsageError(
            f"{field}: {name} lacks weights of its body ({lost[0]}, {len(lost)} layers in all), without which there is "
            f"nothing to start from; use a trained classifier or encoder"
        )
    return Body(model, tuple(sorted(new)))


def _may_be_new(layer: str, model: PreTrainedModel) -> bool:
    return layer.partition(".")[0] in heads(model) or POOLER in layer.split(".")


def heads(model: PreTrainedModel) -> list[str]:
    """Names of the model's parts with weights besides its body."""
    parts = [(name, part) for name, part in model.named_children() if name != model.base_model_prefix]
    return [name for name, part in parts if list(part.parameters())]


def with_lora(field: str, body: Body, lora: RewardLora, name: str) -> nn.Module:
    """The model with new adapters in its body, and its head and new layers trained in full.

    Raises `UsageError` naming `field` if the body lacks a target layer.
    """
    targets = _auto_targets(body) if lora.target_modules == "auto" else lora.target_modules
    in_full = heads(body.model) + [layer for layer in body.new if layer.partition(".")[0] not in heads(body.model)]
    shape = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=lora.r,
        lora_alpha=lora.alpha,
        target_modules=list(targets),
        modules_to_save=in_full,
    )
    return add_layers(body.model, shape, f"{field}.target_modules", name)


def _auto_targets(body: Body) -> list[str]:
    """Query and value projections; all linear layers of a body that has none of these names, as DistilBERT."""
    named, layers = lora_targets(body.model.config), dict(body.model.named_modules())
    if all(any(layer.endswith(f".{name}") for layer in layers) for name in named):
        return list(named)
    prefix = f"{body.model.base_model_prefix}."
    linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear) and name.startswith(prefix)]
    return [name for name in linear if name not in body.new]
