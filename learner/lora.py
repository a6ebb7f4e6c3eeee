"""Adapters of several shapes brought into one, so that one model can be each of them in turn."""

import math
from collections.abc import Sequence

import torch
from peft import LoraConfig, PeftConfig
from peft.utils import load_peft_weights

from configs.errors import UsageError
from configs.schema import Lora
from learner.types import Tensors

UNSUPPORTED = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "layers_to_transform")


def read_adapter(name: str) -> tuple[LoraConfig, Tensors]:
    """Shape and tensors of a PEFT directory or hub name; of a .bin file nothing but tensors is read.

    Raises `UsageError` where it is no plain LoRA adapter.
    """
    try:
        shape, tensors = PeftConfig.from_pretrained(name), load_peft_weights(name, device="cpu")
    except Exception as error:  # what a broken file makes the libraries raise has no common kind
        raise UsageError(f"{name}: cannot be loaded as an adapter: {error}") from error
    odd = [option for option in UNSUPPORTED if getattr(shape, option, None)]
    if not isinstance(shape, LoraConfig) or odd or shape.bias != "none" or isinstance(shape.target_modules, str):
        raise UsageError(f"{name}: only plain LoRA adapters can be compared, without {', '.join(odd) or 'more'}")
    return shape, tensors


def common_shape(shapes: Sequence[LoraConfig]) -> Lora:
    """The smallest shape that each of the adapters fits into; their own where all have the same."""
    rank = max(shape.r for shape in shapes)
    widest = next(shape for shape in shapes if shape.r == rank)
    modules = dict.fromkeys(module for shape in shapes for module in sorted(shape.target_modules))
    return Lora(r=rank, alpha=widest.lora_alpha, dropout=0.0, target_modules=tuple(modules))


def fit(tensors: Tensors, shape: LoraConfig, template: Tensors, into: Lora) -> Tensors:
    """The adapter in the shape of `template`: more ranks and layers that add nothing, and the same product B A.

    Raises `UsageError` where the adapter has layers that the template has not: it is of another model.
    """
    unknown = sorted(set(tensors) - set(template))
    if unknown:
        raise UsageError(f"an adapter is of another model than policy.model, which has no {unknown[0]}")
    scale = shape.lora_alpha / (math.sqrt(shape.r) if shape.use_rslora else shape.r) / (into.alpha / into.r)
    fitted = {name: torch.zeros_like(target) for name, target in template.items()}
    for name, tensor in tensors.items():
        target = fitted[name]
        part = target[: shape.r] if "lora_A" in name else target[:, : shape.r]
        if part.shape != tensor.shape:
            raise UsageError(f"an adapter is of another model than policy.model: {name} is {tuple(tensor.shape)}")
        part.copy_(tensor * (scale if "lora_B" in name else 1))
    return fitted
