"""Settings of sampling."""

from pydantic import Field, model_validator

from configs.decoding import SamplingConfig


class RolloutConfig(SamplingConfig):
    """Sampling of completions."""

    batch_size: int = Field(16, ge=1)
    """Completions per step."""
    unit_size: int = Field(8, ge=1)
    """Completions per unit of work; it changes the bits of the results, unlike the number of workers."""
    max_new_tokens: int = Field(72, ge=1)
    """Maximum length of a completion in tokens."""
    min_cut: int | None = Field(None, ge=1)
    """Cut each training completion at a length drawn from min_cut to max_new_tokens, as the notebook's LengthSampler
    did; null: cut all at max_new_tokens."""

    @property
    def sampling(self) -> SamplingConfig:
        """The distribution alone."""
        return SamplingConfig(**{name: getattr(self, name) for name in SamplingConfig.model_fields})

    @model_validator(mode="after")
    def _check(self) -> "RolloutConfig":
        if self.min_cut and self.min_cut > self.max_new_tokens:
            raise ValueError(f"rollout.min_cut ({self.min_cut}) exceeds rollout.max_new_tokens ({self.max_new_tokens})")
        return self
