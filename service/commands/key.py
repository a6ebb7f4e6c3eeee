"""`ray_job.py key`: create and revoke keys of the service."""

import argparse
import secrets
from pathlib import Path

from configs.errors import UsageError
from configs.installation import COMMAND
from service.http.keys import SCOPES, ApiKey, read_keys, sha256, write_keys


def key(arguments: list[str]) -> None:
    """`ray_job.py key FILE NAME`: create a key and print it, or revoke all keys of a name. Raises `UsageError`."""
    options = _parser().parse_args(arguments)
    keys = read_keys(options.file) if options.file.exists() else []
    if options.revoke:
        write_keys(options.file, [key for key in keys if key.name != options.name])
        return
    scopes = tuple(options.scopes.split(","))
    if unknown := set(scopes) - set(SCOPES):
        raise UsageError(f"--scopes: unknown scope {min(unknown)!r}; scopes are {', '.join(SCOPES)}")
    secret = secrets.token_urlsafe(32)
    write_keys(options.file, [*keys, ApiKey(options.name, scopes, sha256(secret))])
    print(secret)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"{COMMAND} key", description="Create a key for the service, or revoke keys.")
    parser.add_argument("file", type=Path, help="key file; created if it does not exist")
    parser.add_argument("name", help="name of the key's owner")
    parser.add_argument("--scopes", default="read,generate", help=f"some of {','.join(SCOPES)} (default: %(default)s)")
    parser.add_argument("--revoke", action="store_true", help="revoke all keys of this name")
    return parser
