"""Where the code is: in a clone, or in seqrlhf/ among the installed packages."""

import importlib.metadata
import tomllib
from pathlib import Path

CODE = Path(__file__).parent.parent
"""Folder of ray_job.py and the packages."""
PROJECT = CODE / "pyproject.toml"
"""Exists in a clone and in a job's copy of one; a wheel leaves it out."""
COMMAND = "python ray_job.py" if PROJECT.is_file() else "seqrlhf"
"""The command line that starts it."""


def version() -> str:
    """The version in pyproject.toml, its only source."""
    # The file first: a clone may be run in an environment where another version is installed.
    if PROJECT.is_file():
        return tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["version"]
    return importlib.metadata.version("seqrlhf")
