"""How pretrained weights come into memory, for policy and reward model alike."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedModel

from configs.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
META = torch.device("meta")
"""Where a model is only names and shapes: made in a moment, for the checks that its constructor makes."""


def choose_dtype(setting: str, device: torch.device) -> torch.dtype:
    """The type that a `dtype` setting means on a device of this machine.

    auto: bfloat16 where the hardware multiplies it fast (a GPU, or AMX), else float32. avx512_bf16 alone is not enough:
    on a Xeon of 2023 whose AMX was hidden, bfloat16 products ran at half the speed of float32.
    """
    if setting != "auto":
        return DTYPES[setting]
    fast = device.type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16")
    return torch.bfloat16 if fast else torch.float32


def load_model(auto: Any, field: str, name: str, device: torch.device, dtype: str, **options: Any) -> PreTrainedModel:
    """The model of a local directory or hub name, loaded by a class such as AutoModelForSeq2SeqLM, on the CPU.

    On `META` it has no weights: those of a local directory are compared by name and shape, the hub's not fetched.

    Raises `UsageError` naming `field` where it cannot be loaded, or has weights that would start at random.
    """
    try:
        if device == META and not Path(name).is_dir():
            return _bare(auto, name, options)
        if device == META:
            options["device_map"] = device
        chosen = choose_dtype(dtype, device)
        model, found = auto.from_pretrained(name, dtype=chosen, output_loading_info=True, **options)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # what a broken file makes the libraries raise has no common kind
        raise UsageError(f"{field}: {name} cannot be loaded: {one_line(error)}") from error
    if missing := sorted(found["missing_keys"]):
        raise UsageError(
            f"{field}: {name} lacks weights of {type(model).__name__} ({missing[0]}, {len(missing)} in all), which "
            f"would start at random; give a model that was trained for this"
        )
    return model


def _bare(auto: Any, name: str, options: dict[str, Any]) -> PreTrainedModel:
    """A model of the hub without its weights, which are not fetched for it."""
    with META:
        model = auto.from_config(AutoConfig.from_pretrained(name), **options)
    with suppress(OSError):  # few classifiers have such a file
        model.generation_config = GenerationConfig.from_pretrained(name)
    return model


def one_line(error: Exception) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
