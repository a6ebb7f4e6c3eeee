"""Access to the Hugging Face hub, and to model directories in its format."""

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
    """True if a connection to the Hugging Face hub can be opened; assumed if a proxy is configured."""
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return True
    address = urlsplit(huggingface_hub.constants.ENDPOINT)
    return answers(address.hostname, address.port or 443)


def answers(host: str, port: int) -> bool:
    """True if something listens at the address."""
    try:
        socket.create_connection((host, port), timeout=3).close()
    except (OSError, UnicodeError):
        return False
    return True


def go_offline() -> None:
    """Use only the hub's local cache, here and in child processes: a failed connection takes half a minute."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    huggingface_hub.constants.HF_HUB_OFFLINE = True


def load_named(field: str, name: str, loader: Callable[..., Any], *files: str) -> Any:
    """`loader(name)`; a directory must hold a file for each pattern. Raises `UsageError` naming `field`."""
    folder = Path(name)
    if not folder.is_dir():
        return _load_from_hub(field, name, loader)
    missing = [pattern for pattern in files if not any(any(folder.glob(p)) for p in pattern.split("|"))]
    if missing:
        listed = ", ".join(pattern.split("|")[0] for pattern in missing)
        raise UsageError(f"{field}: {name} holds no {listed}; pass a directory written by save_pretrained")
    try:
        return loader(name)
    except Exception as error:  # broken files make the libraries raise errors of any type
        raise UsageError(f"{field}: {name} cannot be loaded: {one_line(error)}") from error


def _load_from_hub(field: str, name: str, loader: Callable[..., Any]) -> Any:
    try:
        return loader(name)
    except Exception as error:
        raise UsageError(
            f"{field}: {name!r} is not a directory (relative to {Path.cwd()}) and could not be loaded from the Hugging "
            f"Face hub or its local cache; check the name, the current folder and the network"
        ) from error
