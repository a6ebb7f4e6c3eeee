"""Trained adapters: reading them with checks, writing them, and hashing their tensors."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftType
from peft.utils import load_peft_weights
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.utils import cached_file

from configs.errors import UsageError
from learner.pretrained import one_line
from learner.types import PolicyState, Tensors

BASE = "base"
"""Name of the bare model, used in place of an adapter's name."""
VALUE_HEAD = "value_head.safetensors"
HARMLESS_INITS = (True, False, "gaussian", "eva", "orthogonal")
"""Values of init_lora_weights that leave the base model unchanged."""
UNSUPPORTED = (
    "use_dora",
    "modules_to_save",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "lora_bias",
    "use_qalora",
    "use_bdlora",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
"""LoraConfig options that make a layer compute more than its base plus the product of two matrices."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """A LoRA adapter: the shape of its layers, and their tensors under the names peft saves them by."""

    shape: LoraConfig
    tensors: Tensors


def read_adapter(field: str, name: str) -> Adapter:
    """The adapter of a PEFT directory or hub name; of a .bin file only tensors are read.

    Raises `UsageError` naming `field` if it cannot be read, is of an unsupported kind, or is not finite.
    """
    shape, tensors = read_shape(field, name), _load(field, name, partial(load_peft_weights, device="cpu"))
    if broken := sorted(n for n, tensor in tensors.items() if not tensor.isfinite().all()):
        raise UsageError(f"{field}: {name} contains non-finite numbers, in {broken[0]}; train it again")
    return Adapter(shape, tensors)


def read_shape(field: str, name: str) -> LoraConfig:
    """The shape of an adapter's layers. Raises `UsageError` as `read_adapter` does."""
    shape = _load(field, name, PeftConfig.from_pretrained)
    if problem := _unsupported(shape):
        raise UsageError(f"{field}: {name} is not a plain LoRA adapter: {problem}")
    return shape


def _load(field: str, name: str, loader: Callable[[str], Any]) -> Any:
    try:
        return loader(name)
    except Exception as error:  # broken files make the libraries raise all kinds of errors
        raise UsageError(f"{field}: {name} cannot be loaded as an adapter: {one_line(error)}") from error


def _unsupported(shape: PeftConfig) -> str:
    """Why an adapter of this kind cannot be trained, evaluated and served alike; '' if it can."""
    if not isinstance(shape, LoraConfig) or shape.peft_type != PeftType.LORA:  # AdaLoRA's config is a LoraConfig, too
        return f"its peft_type is {getattr(shape.peft_type, 'value', None)}"
    if options := [option for option in UNSUPPORTED if getattr(shape, option, None)]:
        return f"it was created with {', '.join(options)}"
    if not shape.target_modules:
        return "it has no target_modules"
    if shape.bias != "none":
        return f"it trains biases (bias {shape.bias!r})"
    if shape.init_lora_weights not in HARMLESS_INITS:
        return (
            f"init_lora_weights {shape.init_lora_weights!r} changed the weights of its base model; save it as "
            f"plain LoRA with peft's save_pretrained(..., path_initial_model_for_weight_conversion=...)"
        )
    return ""


def read_value_head(field: str, name: str, value_head: nn.Linear) -> bool:
    """Load the value head saved beside an adapter; returns False if there is none.

    Raises `UsageError` naming `field` if it does not fit this model.
    """
    optional = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    file = cached_file(name, VALUE_HEAD, **optional)
    if file is None:
        return False
    try:
        tensors = load_file(file)
    except Exception as error:
        raise UsageError(f"{field}: {name}: {VALUE_HEAD} cannot be read: {one_line(error)}") from error
    expected = {key: tensor.shape for key, tensor in value_head.state_dict().items()}
    if {key: tensor.shape for key, tensor in tensors.items()} != expected:
        raise UsageError(f"{field}: {name}: {VALUE_HEAD} belongs to another policy; remove the file to learn a new one")
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise UsageError(f"{field}: {name}: {VALUE_HEAD} is not finite; remove the file to learn a new one")
    value_head.load_state_dict(tensors)
    return True


def save_adapter(state: PolicyState, shape: PeftConfig, model: str, folder: Path) -> None:
    """Write a directory that `PeftModel.from_pretrained` loads on `model`, with the value head beside it."""
    shape = replace(shape, base_model_name_or_path=model, inference_mode=True)
    shape.save_pretrained(folder)
    save_file(state.adapter, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    save_file(state.value_head, folder / VALUE_HEAD, metadata={"format": "pt"})


def tensors_sha256(tensors: Tensors) -> str:
    """Hash of names, types, shapes and bits, in name order; unlike a file's bytes, the same for equal tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
