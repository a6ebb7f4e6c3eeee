"""Where the code lies: in a clone, or as seqrlhf/ among the installed packages."""

import importlib.metadata
import tomllib
from pathlib import Path

CODE = Path(__file__).parent.parent
"""The folder that ray_job.py and the packages lie in."""
PROJECT = CODE / "pyproject.toml"
"""There in a clone, and in a job's copy of one; a wheel leaves it out."""
COMMAND = "python ray_job.py" if PROJECT.is_file() else "seqrlhf"
"""How people start it."""


def version() -> str:
    """The project's version, which is written down in pyproject.toml alone."""
    # The file first: a clone may be run in an environment where another version is installed.
    if PROJECT.is_file():
        return tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["version"]
    return importlib.metadata.version("seqrlhf")
