"""How pretrained weights come into memory, for policy and reward model alike."""

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def device() -> torch.device:
    """The GPU that Ray gave this worker, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(setting: str) -> torch.dtype:
    """The type that a `dtype` setting means on this machine.

    auto: bfloat16 where the hardware multiplies it fast (a GPU, avx512_bf16 or AMX), else float32.
    """
    if setting != "auto":
        return DTYPES[setting]
    has = torch.cpu.get_capabilities()
    fast = torch.cuda.is_available() or has.get("avx512_bf16") or has.get("amx_bf16")
    return torch.bfloat16 if fast else torch.float32
