"""Settings of supervised fine-tuning."""

from pydantic import Field

from configs.base import Section


class SftConfig(Section):
    """Supervised fine-tuning of an adapter on dialogues and their summaries."""

    epochs: float = Field(1.0, gt=0)
    """Passes over the training split."""
    learning_rate: float = Field(1e-3, gt=0)
    """AdamW's initial learning rate, which decays linearly to 0."""
    batch_size: int = Field(16, ge=1)
    """Dialogues per update, across all workers."""
    max_target_tokens: int = Field(200, ge=1)
    """Longer summaries are truncated."""
    eval_rows: int = Field(100, ge=1)
    """Validation dialogues whose greedy summaries are scored by ROUGE."""
    evals: int = Field(4, ge=1)
    """Number of evaluations, evenly spaced; a checkpoint is written at each."""
    workers: int = Field(1, ge=1)
    """Data-parallel workers of Ray Train; each has the CPUs and GPUs of the learner."""
