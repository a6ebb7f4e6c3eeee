"""Settings of the policy and its adapter."""

from typing import Literal

from pydantic import Field

from configs.base import Section


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021), the only weights of the policy that are trained."""

    r: int = Field(32, ge=1)
    """Rank."""
    alpha: int = Field(32, ge=1)
    """Scaling: the product of the two matrices is multiplied by alpha / r."""
    dropout: float = Field(0.05, ge=0, lt=1)
    """Stored in the adapter's config for supervised training; reinforcement learning runs without dropout."""
    target_modules: Literal["auto"] | tuple[str, ...] = "auto"
    """Names of the layers that get an adapter; auto: query and value projections of attention (T5: q, v; BART: q_proj,
    v_proj)."""


class PolicyConfig(Section):
    """The encoder-decoder model to train."""

    model: str
    """Local directory or hub name of any model that AutoModelForSeq2SeqLM loads."""
    adapter: str | None = None
    """Trained LoRA adapter to start from (PEFT directory or hub name); the reference starts from it too."""
    adapter_bin: bool = False
    """Accept an adapter that exists only as adapter_model.bin, a format that could contain code: only tensors are read
    from it. Command line only."""
    lora: Lora = Lora()
    """Shape of a new adapter; ignored if `policy.adapter` is given."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Data type of the frozen weights; auto: bfloat16 where the hardware is fast at it. Trained weights are float32."""
