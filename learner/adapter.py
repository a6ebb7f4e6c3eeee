"""Trained adapters as files, checked when they are read, and as a hash."""

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
"""Name that stands for the bare model in place of an adapter."""
VALUE_HEAD = "value_head.safetensors"
HARMLESS_INITS = (True, False, "gaussian", "eva", "orthogonal")
"""Values of init_lora_weights that leave the base model as it is."""
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
"""Options of a LoraConfig by which a layer computes more than its base and the product of two matrices."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """A LoRA adapter: what its layers are, and their tensors by the names that peft saves them by."""

    shape: LoraConfig
    tensors: Tensors


def read_adapter(field: str, name: str) -> Adapter:
    """The adapter of a PEFT directory or hub name; of a .bin file nothing but tensors is read.

    Raises `UsageError` naming `field` where it cannot be read, is of a kind that is not supported, or is not finite.
    """
    shape, tensors = read_shape(field, name), _load(field, name, partial(load_peft_weights, device="cpu"))
    if broken := sorted(n for n, tensor in tensors.items() if not tensor.isfinite().all()):
        raise UsageError(f"{field}: {name} holds numbers that are not finite, in {broken[0]}; train it again")
    return Adapter(shape, tensors)


def read_shape(field: str, name: str) -> LoraConfig:
    """What the layers of such an adapter are. Raises `UsageError` as `read_adapter` does."""
    shape = _load(field, name, PeftConfig.from_pretrained)
    if problem := _unsupported(shape):
        raise UsageError(f"{field}: {name} is not a plain LoRA adapter: {problem}")
    return shape


def _load(field: str, name: str, loader: Callable[[str], Any]) -> Any:
    try:
        return loader(name)
    except Exception as error:  # what a broken file makes the libraries raise has no common kind
        raise UsageError(f"{field}: {name} cannot be loaded as an adapter: {one_line(error)}") from error


def _unsupported(shape: PeftConfig) -> str:
    """What of an adapter's kind cannot be carried through training, evaluation and service alike; '' where all can."""
    if not isinstance(shape, LoraConfig) or shape.peft_type != PeftType.LORA:  # AdaLoRA's is a LoraConfig, too
        return f"its peft_type is {getattr(shape.peft_type, 'value', None)}"
    if odd := [option for option in UNSUPPORTED if getattr(shape, option, None)]:
        return f"it was made with {', '.join(odd)}"
    if not shape.target_modules:
        return "it names no target_modules"
    if shape.bias != "none":
        return f"it trains biases (bias {shape.bias!r})"
    if shape.init_lora_weights not in HARMLESS_INITS:
        return (
            f"init_lora_weights {shape.init_lora_weights!r} changed the weights of its base model; peft writes it as "
            f"plain LoRA by save_pretrained(..., path_initial_model_for_weight_conversion=...)"
        )
    return ""


def read_value_head(field: str, name: str, value_head: nn.Linear) -> bool:
    """Load the value head that lies beside an adapter; False where there is none.

    Raises `UsageError` naming `field` where it is not one of this model.
    """
    found = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    file = cached_file(name, VALUE_HEAD, **found)
    if file is None:
        return False
    try:
        tensors = load_file(file)
    except Exception as error:
        raise UsageError(f"{field}: {name}: {VALUE_HEAD} cannot be read: {one_line(error)}") from error
    own = {key: tensor.shape for key, tensor in value_head.state_dict().items()}
    if {key: tensor.shape for key, tensor in tensors.items()} != own:
        raise UsageError(f"{field}: {name}: {VALUE_HEAD} is of another policy; without that file a new one is learned")
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise UsageError(f"{field}: {name}: {VALUE_HEAD} is not finite; without that file a new one is learned")
    value_head.load_state_dict(tensors)
    return True


def save_adapter(state: PolicyState, shape: PeftConfig, model: str, folder: Path) -> None:
    """Write a directory that `PeftModel.from_pretrained` loads on `model`, with the value head beside it."""
    shape = replace(shape, base_model_name_or_path=model, inference_mode=True)
    shape.save_pretrained(folder)
    save_file(state.adapter, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    save_file(state.value_head, folder / VALUE_HEAD, metadata={"format": "pt"})


def tensors_sha256(tensors: Tensors) -> str:
    """Hash of names, types, shapes and bits in the order of the names; the bytes of a file may differ, these do not."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
