"""Settings of the benchmark."""

from pydantic import Field, model_validator

from configs.base import Section


class BenchConfig(Section):
    """What `ray_job.py bench` times."""

    steps: int = Field(3, ge=1)
    """Steps that are timed, after one that is not."""
    min_new: int | None = Field(None, ge=1)
    """With max_new: completions have between so many tokens ..."""
    max_new: int | None = Field(None, ge=1)
    """... and so many, whatever ends a completion otherwise; null: as the policy ends them."""
    simulate: tuple[int, ...] = ()
    """Numbers of workers: instead of timing steps, see how busy the driver keeps so many workers that sleep."""
    simulate_seconds: float = Field(5.0, gt=0)
    """What such a worker takes over a score; twice that over completions."""
    vs: str | None = None
    """A command that prints one JSON line a step: it is timed in turn with the run's own steps."""

    @model_validator(mode="after")
    def _check(self) -> "BenchConfig":
        if (self.min_new or 1) > (self.max_new or self.min_new or 1) or (self.min_new and not self.max_new):
            raise ValueError("bench.min_new needs a bench.max_new that is not smaller")
        if any(number < 4 or number % 4 for number in self.simulate):
            raise ValueError("bench.simulate: numbers of workers must be multiples of 4")
        return self
