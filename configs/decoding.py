"""Settings of decoding: sampling, and ways without chance."""

from typing import Annotated, Literal

from pydantic import Field

from configs.base import Section


class SamplingConfig(Section):
    """The distribution that each token is drawn from, by default the model's own over the whole vocabulary.

    Loss, ratio and KL are of the same distribution: docs/algorithms.md#sampling.
    """

    temperature: float = Field(1.0, ge=0.01)
    """Divides the logits: below 1 for likelier tokens, above 1 for more diverse ones."""
    top_k: int | None = Field(None, ge=1)
    """Draw from the top_k most likely tokens; null: from all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Draw from the most likely tokens that together have at least this probability (nucleus sampling); 1: from all."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Draw from tokens at least min_p times as likely as the most likely one; 0: from all."""

    @property
    def title(self) -> str:
        """In words, what differs from the model's own distribution; empty if nothing does."""
        fields = SamplingConfig.model_fields
        chosen = {name: getattr(self, name) for name in fields if getattr(self, name) != fields[name].default}
        return ", ".join(f"{name} {value:g}" for name, value in chosen.items())


class Greedy(Section):
    """The most likely token at each position."""

    type: Literal["greedy"] = "greedy"

    @property
    def title(self) -> str:
        """In words."""
        return "greedy decoding"


class BeamSearch(Section):
    """transformers' own beam search, with the processors of the model's generation config."""

    type: Literal["beam"] = "beam"
    num_beams: int = Field(4, ge=2)
    """Completions that are followed at once."""
    length_penalty: float = 1.0
    """Exponent of the length by which a completion's log-probability is divided: larger for longer completions."""

    @property
    def title(self) -> str:
        """In words."""
        return f"beam search ({self.num_beams} beams, length penalty {self.length_penalty:g})"


AnyDecoding = Annotated[Greedy | BeamSearch, Field(discriminator="type")]
