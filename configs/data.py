"""Settings of the data set."""

from pydantic import Field, model_validator

from configs.base import Section


class DataConfig(Section):
    """Dialogues and summaries."""

    path: str
    """Local directory with a csv or jsonl file per split, or the hub name of a data set."""
    prompt_column: str = "dialogue"
    """Column that the prompt is made of."""
    reference_column: str = "summary"
    """Column with the reference summary; rows with the same prompt are one prompt with several references."""
    topic_column: str = "topic"
    """Column that figures are also given by, where the data has it."""
    template: str = "Summarize the following conversation.\n\n{text}\n\nSummary:\n"
    """The prompt, {text} standing for the prompt column."""
    min_chars: int = Field(200, ge=0)
    """Shorter texts are left out."""
    max_chars: int = Field(1000, ge=1)
    """Longer texts are left out."""
    max_prompt_tokens: int = Field(512, ge=1)
    """Prompts with more tokens are left out."""
    train_split: str = "train"
    """Split that rollouts are made for."""
    validation_split: str = "validation"
    """Split that supervised fine-tuning is watched on."""
    eval_split: str = "test"
    """Held-out split that the policy is judged on."""

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        if "{text}" not in self.template:
            raise ValueError("data.template must contain {text}, the place of the dialogue")
        if self.min_chars > self.max_chars:
            raise ValueError(f"data.min_chars ({self.min_chars}) exceeds data.max_chars ({self.max_chars})")
        return self
