"""Settings of the benchmark."""

from pydantic import Field, model_validator

from configs.base import Section


class BenchConfig(Section):
    """What `ray_job.py bench` measures."""

    steps: int = Field(3, ge=1)
    """Timed steps, after one untimed warm-up step."""
    min_new: int | None = Field(None, ge=1)
    """Shortest forced length of a completion in tokens; requires max_new."""
    max_new: int | None = Field(None, ge=1)
    """Longest forced length of a completion in tokens; null: the policy ends its completions itself."""
    simulate: tuple[int, ...] = ()
    """Numbers of workers: instead of timing steps, measure how busy the driver keeps this many sleeping workers."""
    simulate_seconds: float = Field(5.0, gt=0)
    """Seconds a sleeping worker takes to score a unit; completing one takes twice as long."""
    vs: str | None = None
    """Command to compare with, which prints one JSON line per step; its steps and the run's own are timed in turn."""

    @model_validator(mode="after")
    def _check(self) -> "BenchConfig":
        if (self.min_new or 1) > (self.max_new or self.min_new or 1) or (self.min_new and not self.max_new):
            raise ValueError("bench.min_new requires a bench.max_new at least as large")
        if any(number < 4 or number % 4 for number in self.simulate):
            raise ValueError("bench.simulate: numbers of workers must be multiples of 4")
        return self
