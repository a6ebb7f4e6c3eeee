"""Settings of the data set."""

from pydantic import Field, model_validator

from configs.base import Section


class DataConfig(Section):
    """The data set: dialogues and their summaries."""

    path: str
    """Local directory with a csv or jsonl file per split, or the hub name of a data set."""
    prompt_column: str = "dialogue"
    """Column that the prompt is built from."""
    reference_column: str = "summary"
    """Column with the reference summary; rows with the same prompt become one prompt with several references."""
    topic_column: str = "topic"
    """Column by which metrics are also reported, if the data has it."""
    template: str = "Summarize the following conversation.\n\n{text}\n\nSummary:\n"
    """Template of the prompt; {text} is replaced by the prompt column."""
    min_chars: int = Field(200, ge=0)
    """Shorter texts are left out."""
    max_chars: int = Field(1000, ge=1)
    """Longer texts are left out."""
    max_prompt_tokens: int = Field(512, ge=1)
    """Prompts with more tokens are left out."""
    src_lang: str | None = None
    """Language of the prompts, as the tokenizer of NLLB, mBART or M2M100 names it (eng_Latn, en_XX, en)."""
    src_lang_column: str | None = None
    """Column with each row's own src_lang."""
    tgt_lang: str | None = None
    """Language of the completions: its token is the first that the decoder reads, or follows its start token."""
    tgt_lang_column: str | None = None
    """Column with each row's own tgt_lang."""
    target_prefix: str = Field("", max_length=500)
    """Text or token that every completion begins with. It is context: no part of the completion or of the loss."""
    train_split: str = "train"
    """Split whose prompts are used for rollouts."""
    validation_split: str = "validation"
    """Split on which supervised fine-tuning is evaluated."""
    eval_split: str = "test"
    """Held-out split on which policies are evaluated."""

    @property
    def begins_completions(self) -> bool:
        """True if the data, not the model's config alone, says how completions begin."""
        return bool(self.tgt_lang or self.tgt_lang_column or self.target_prefix)

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        if "{text}" not in self.template:
            raise ValueError("data.template must contain {text}, which is replaced by the dialogue")
        if self.min_chars > self.max_chars:
            raise ValueError(f"data.min_chars ({self.min_chars}) exceeds data.max_chars ({self.max_chars})")
        return self
