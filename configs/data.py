"""Settings of the data set."""

from pydantic import Field, field_validator, model_validator

from configs.base import Section


class DataConfig(Section):
    """The data set: dialogues and their summaries."""

    path: str
    """Folder with a file or shards per split, a single file, a folder written by save_to_disk, or a hub name."""
    config: str | None = None
    """Name of the configuration (subset) of a data set on the hub, if it has several."""
    prompt_column: str = "dialogue"
    """Column that the prompt is built from, or the path to a value in a nested one, such as translation.en."""
    reference_column: str | tuple[str, ...] | None = "summary"
    """Column or path of the reference; several, as a list or separated by commas, give several references; null: the
    data have none."""
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
    encoding: str = "utf-8"
    """Encoding of csv, tsv and json files that have no byte order mark."""
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
    """Split whose prompts are used for rollouts, or a part of one, such as train[:90%]."""
    validation_split: str = "validation"
    """Split on which supervised fine-tuning is evaluated."""
    eval_split: str = "test"
    """Held-out split on which policies are evaluated."""

    @property
    def reference_columns(self) -> tuple[str, ...]:
        """Columns or paths of the references."""
        given = self.reference_column
        return tuple(name.strip() for name in given.split(",")) if isinstance(given, str) else given or ()

    @property
    def begins_completions(self) -> bool:
        """True if the data, not the model's config alone, says how completions begin."""
        return bool(self.tgt_lang or self.tgt_lang_column or self.target_prefix)

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, name: str) -> str:
        try:
            "".encode(name)
        except LookupError as error:
            raise ValueError(f"no encoding is called {name!r}; such as utf-8, cp1252, utf-16") from error
        return name

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        if "{text}" not in self.template:
            raise ValueError("data.template must contain {text}, which is replaced by the dialogue")
        if self.reference_column is not None and not (self.reference_columns and all(self.reference_columns)):
            raise ValueError(
                f"data.reference_column ({self.reference_column!r}) must name a column; null: there are no references"
            )
        if self.min_chars > self.max_chars:
            raise ValueError(f"data.min_chars ({self.min_chars}) exceeds data.max_chars ({self.max_chars})")
        return self
