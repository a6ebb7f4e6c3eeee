"""Versions of the packages that a run's results depend on."""

import importlib.metadata
import platform

PACKAGES = ("ray", "torch", "transformers", "peft", "datasets", "evaluate")


def versions() -> dict[str, str]:
    """Versions of Python and the main packages."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
