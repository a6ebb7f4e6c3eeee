"""`ray_job.py key`: create, list and revoke keys of the service."""

import argparse
import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from configs.errors import UsageError
from configs.installation import COMMAND
from configs.service import ServeConfig
from service.http.audit import AUDIT, AuditLog, Change
from service.http.keys import SCOPES, ApiKey, editing, read_keys, sha256, write_keys
from service.http.last_use import LastUse


def key(arguments: list[str]) -> None:
    """`ray_job.py key create|list|revoke FILE [NAME]`. Raises `UsageError`."""
    options = _parser().parse_args(arguments)
    options.action(options)


def _create(options: argparse.Namespace) -> None:
    """Add a key to the file and print it."""
    scopes = tuple(options.scopes.split(","))
    if unknown := set(scopes) - set(SCOPES):
        raise UsageError(f"--scopes: unknown scope {min(unknown)!r}; scopes are {', '.join(SCOPES)}")
    expires = _end(options.expires) if options.expires else None
    secret = secrets.token_urlsafe(32)
    with editing(options.file):
        keys = read_keys(options.file) if options.file.exists() else []
        write_keys(options.file, [*keys, ApiKey(options.name, scopes, sha256(secret), expires=expires)])
    end = f", expires {expires:%Y-%m-%d %H:%M %Z}" if expires else ""
    _audit(options, "create_key", f"{options.name}: {options.scopes}{end}")
    print(secret)


def _list(options: argparse.Namespace) -> None:
    """Print a table of the keys."""
    last_use = LastUse(options.file)
    rows = [("name", "scopes", "created", "expires", "last used")]
    for key in _existing(options.file):
        times = (key.created, key.expires, last_use.of(key.sha256))
        rows.append((key.name, ",".join(key.scopes), *(f"{time:%Y-%m-%d %H:%M}" if time else "-" for time in times)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _revoke(options: argparse.Namespace) -> None:
    """Remove all keys of a name from the file."""
    _existing(options.file)
    with editing(options.file):
        keys = read_keys(options.file)
        revoked = [key for key in keys if key.name == options.name]
        if not revoked:
            names = ", ".join(dict.fromkeys(key.name for key in keys)) or "none"
            raise UsageError(f"NAME: {options.file} has no key of {options.name!r}; its keys are of: {names}")
        write_keys(options.file, [key for key in keys if key not in revoked])
    for key in revoked:
        LastUse(options.file).forget(key.sha256)
    _audit(options, "revoke_key", options.name)


def _audit(options: argparse.Namespace, what: str, request: str) -> None:
    if options.folder.is_dir():  # else there is no service to keep a log of
        AuditLog(options.folder).add(Change(psutil.Process().username(), what, "done", request=request))


def _existing(file: Path) -> list[ApiKey]:
    if not file.exists():
        raise UsageError(f"FILE: {file} does not exist; `{COMMAND} key create` makes it")
    return read_keys(file)


def _end(text: str) -> datetime:
    """When a key expires that is made with `--expires`. Raises `UsageError`."""
    now = datetime.now(UTC).replace(microsecond=0)
    days = re.fullmatch(r"(\d{1,5})d", text)
    try:
        end = now + timedelta(days=int(days[1])) if days else datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--expires: {text!r} is neither days such as 90d nor a date such as 2027-01-31") from error
    end = end.astimezone(UTC) if end.tzinfo else end.replace(tzinfo=UTC)
    if end <= now:
        raise UsageError(f"--expires: {text!r} is not in the future")
    return end


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"{COMMAND} key", description="Create, list or revoke keys of the service.")
    verbs = parser.add_subparsers(required=True, metavar="create|list|revoke")
    create = verbs.add_parser("create", help="create a key and print it", description="Create a key and print it.")
    listing = verbs.add_parser("list", help="list the keys", description="List the keys; times are UTC.")
    revoke = verbs.add_parser("revoke", help="revoke all keys of a name", description="Revoke all keys of a name.")
    for verb, action in ((create, _create), (listing, _list), (revoke, _revoke)):
        verb.set_defaults(action=action)
        verb.add_argument("file", metavar="FILE", type=Path, help="key file")
    for verb in (create, revoke):
        verb.add_argument("name", metavar="NAME", help="name of the keys' owner")
        verb.add_argument("--serve.folder", dest="folder", type=Path, default=Path(ServeConfig().folder),
                          help=f"folder of the service, whose {AUDIT} gets a line (default: %(default)s)")  # fmt: skip
    create.add_argument("--scopes", default="read,generate", help=f"some of {','.join(SCOPES)} (default: %(default)s)")
    create.add_argument("--expires", help="days such as 90d, or a date such as 2027-01-31 (default: never)")
    return parser
