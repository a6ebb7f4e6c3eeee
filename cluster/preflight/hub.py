"""The Hugging Face hub and its directories: is it there, and is what they hold what is asked for."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub.constants

from configs.errors import UsageError
from learner.pretrained import one_line


def hub_is_reachable() -> bool:
    """Whether a connection to the Hugging Face hub can be opened; a proxy is taken at its word."""
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return True
    address = urlsplit(huggingface_hub.constants.ENDPOINT)
    return answers(address.hostname, address.port or 443)


def answers(host: str, port: int) -> bool:
    """True where something listens at the address."""
    try:
        socket.create_connection((host, port), timeout=3).close()
    except (OSError, UnicodeError):
        return False
    return True


def go_offline() -> None:
    """Take hub names from the local cache only, here and in processes started from here: trying takes half a minute."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    huggingface_hub.constants.HF_HUB_OFFLINE = True


def load_named(field: str, name: str, loader: Callable[..., Any], *files: str) -> Any:
    """`loader(name)`, its failure turned into a problem of `field`; a directory must hold one file of each pattern."""
    folder = Path(name)
    if not folder.is_dir():
        return _load_from_hub(field, name, loader)
    missing = [pattern for pattern in files if not any(any(folder.glob(p)) for p in pattern.split("|"))]
    if missing:
        listed = ", ".join(pattern.split("|")[0] for pattern in missing)
        raise UsageError(f"{field}: {name} holds no {listed}; give the directory that save_pretrained wrote")
    try:
        return loader(name)
    except Exception as error:  # what a broken file makes the libraries raise has no common kind
        raise UsageError(f"{field}: {name} cannot be loaded: {one_line(error)}") from error


def _load_from_hub(field: str, name: str, loader: Callable[..., Any]) -> Any:
    try:
        return loader(name)
    except Exception as error:
        raise UsageError(
            f"{field}: {name!r} is no directory (seen from {Path.cwd()}), and cannot be had from the Hugging Face hub "
            f"or its cache on this machine; check the name, the current folder and the network"
        ) from error
