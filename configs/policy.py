"""Settings of the policy and its adapter."""

from typing import Literal

from pydantic import Field

from configs.base import Section


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021), the only weights of the policy that are trained."""

    r: int = Field(32, ge=1)
    """Rank."""
    alpha: int = Field(32, ge=1)
    """Scale: the update is multiplied by alpha / r."""
    dropout: float = Field(0.05, ge=0, lt=1)
    """Kept in the adapter's own config for supervised training; reinforcement learning runs without dropout."""
    target_modules: tuple[str, ...] = ("q", "v")
    """Names of the layers that get an adapter (T5: q, v; BART: q_proj, v_proj)."""


class PolicyConfig(Section):
    """The encoder-decoder model that is trained."""

    model: str
    """Local directory or hub name of anything that AutoModelForSeq2SeqLM loads."""
    adapter: str | None = None
    """Trained LoRA adapter to start from (PEFT directory or hub name); it is then the reference's as well."""
    adapter_bin: bool = False
    """Accept an adapter that exists as adapter_model.bin only, a format that could hold code: nothing but tensors is
    read of it. From the command line only."""
    lora: Lora = Lora()
    """Shape of a new adapter; not used where `policy.adapter` is given."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the frozen weights; auto: bfloat16 where the hardware is fast at it. What is trained is float32."""
