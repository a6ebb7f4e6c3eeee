"""The trained adapter as files and as a hash."""

import hashlib
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, TaskType
from safetensors.torch import save_file

from configs import schema
from learner.types import PolicyState, Tensors


def lora_config(config: schema.Policy) -> PeftConfig:
    """The shape of the adapter: that of `policy.adapter` where one is given, else a new one."""
    if config.adapter:
        return PeftConfig.from_pretrained(config.adapter)
    lora = config.lora
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias="none",
        target_modules=list(lora.target_modules),
        task_type=TaskType.SEQ_2_SEQ_LM,
    )


def save_adapter(state: PolicyState, config: schema.Policy, folder: Path) -> None:
    """Write a directory that `PeftModel.from_pretrained` loads, with the value head beside it."""
    shape = lora_config(config)
    shape.base_model_name_or_path = config.model
    shape.inference_mode = True
    shape.save_pretrained(folder)
    save_file(state.adapter, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    save_file(state.value_head, folder / "value_head.safetensors", metadata={"format": "pt"})


def tensors_sha256(tensors: Tensors) -> str:
    """Hash of names, types, shapes and bits in the order of the names; the bytes of a file may differ, these do not."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
