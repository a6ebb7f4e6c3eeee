"""Loading pretrained weights, for policy and reward model alike."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedModel

from configs.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
META = torch.device("meta")
"""Device on which a model is only names and shapes: created in a moment, for the checks in its constructor."""


def choose_dtype(setting: str, device: torch.device) -> torch.dtype:
    """The data type that a `dtype` setting means on a device of this machine.

    auto: bfloat16 where the hardware multiplies it fast (a GPU, or AMX), else float32. avx512_bf16 alone is not enough:
    on a 2023 Xeon with hidden AMX, bfloat16 products ran at half the speed of float32.
    """
    if setting != "auto":
        return DTYPES[setting]
    fast = device.type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16")
    return torch.bfloat16 if fast else torch.float32


def load_model(auto: Any, field: str, name: str, device: torch.device, dtype: str, **options: Any) -> PreTrainedModel:
    """The model of a local directory or hub name, loaded by a class such as AutoModelForSeq2SeqLM, on the CPU.

    On `META` it has no weights: a local directory's are checked by name and shape, the hub's are not fetched.

    Raises `UsageError` naming `field` if it cannot be loaded, or lacks weights, which would be initialised at random.
    """
    try:
        if device == META and not Path(name).is_dir():
            return _bare(auto, name, options)
        if device == META:
            options["device_map"] = device
        chosen = choose_dtype(dtype, device)
        model, info = auto.from_pretrained(name, dtype=chosen, output_loading_info=True, **options)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # broken files make the libraries raise all kinds of errors
        raise UsageError(f"{field}: {name} cannot be loaded: {one_line(error)}") from error
    if missing := sorted(info["missing_keys"]):
        raise UsageError(
            f"{field}: {name} lacks weights of {type(model).__name__} ({missing[0]}, {len(missing)} in all), which "
            f"would be initialised at random; use a model that was trained for this task"
        )
    return model


def _bare(auto: Any, name: str, options: dict[str, Any]) -> PreTrainedModel:
    """A model of the hub without its weights, which are not fetched."""
    with META:
        model = auto.from_config(AutoConfig.from_pretrained(name), **options)
    with suppress(OSError):  # few classifiers have this file
        model.generation_config = GenerationConfig.from_pretrained(name)
    return model


def one_line(error: Exception) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
