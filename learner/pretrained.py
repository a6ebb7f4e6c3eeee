"""How pretrained weights come into memory, for policy and reward model alike."""

import torch

from configs.cluster import Resources

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def device_of(resources: Resources) -> torch.device:
    """The GPU for a worker whose config reserves one, or a part of one; else the CPU, whatever the machine has.

    auto is settled before workers are made (cluster/layout.py); without that it is the CPU.
    """
    return torch.device("cuda" if resources.gpus not in (0, "auto") else "cpu")


def choose_dtype(setting: str, device: torch.device) -> torch.dtype:
    """The type that a `dtype` setting means on a device of this machine.

    auto: bfloat16 where the hardware multiplies it fast (a GPU, or AMX), else float32. avx512_bf16 alone is not enough:
    on a Xeon of 2023 whose AMX was hidden, bfloat16 products ran at half the speed of float32.
    """
    if setting != "auto":
        return DTYPES[setting]
    fast = device.type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16")
    return torch.bfloat16 if fast else torch.float32
