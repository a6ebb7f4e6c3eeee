"""Counts the file operations of a block of code, and makes one of them fail."""

import builtins
import errno
import io
import os
import signal
from contextlib import contextmanager

FUNCTIONS = ("open", "mkdir", "rename", "replace", "unlink", "rmdir", "fsync")


class Operations:
    """Counts operations, and makes number `at` (from 0) fail as `act` names: kill, full, denied or short."""

    def __init__(self, act: str = "", at: int = -1) -> None:
        self.act, self.at, self.count = act, at, 0

    def next(self) -> str:
        """Count an operation; returns how it shall fail, or an empty string."""
        self.count += 1
        return self.act if self.count - 1 == self.at else ""

    def pass_or_fail(self) -> None:
        match self.next():
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "full":
                raise OSError(errno.ENOSPC, "No space left on device")
            case "denied":
                raise PermissionError(errno.EACCES, "Permission denied")


class File:
    """An open file whose writes are operations: a failing one writes half of its data."""

    def __init__(self, file, operations: Operations) -> None:
        self.file, self.operations = file, operations

    def write(self, data) -> int:
        act = self.operations.next()
        if not act:
            return self.file.write(data)
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        if act == "short":
            return len(data)
        self.operations.at = self.operations.count  # so that the operation counted in the next line fails
        return self.operations.pass_or_fail()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


@contextmanager
def watched(operations: Operations):
    """Count all file operations within the context in `operations`."""
    kept = {(module, name): getattr(module, name) for module, name in [*((os, f) for f in FUNCTIONS), (io, "open"),
            (builtins, "open")]}  # fmt: skip

    def wrap(module, name, real):
        def call(*args, **kwargs):
            mode = args[1] if len(args) > 1 else kwargs.get("mode", "r")
            if name == "open" and module is not os:
                if not set(str(mode)) & set("wax+"):
                    return real(*args, **kwargs)
                operations.pass_or_fail()
                return File(real(*args, **kwargs), operations)
            operations.pass_or_fail()
            return real(*args, **kwargs)

        setattr(module, name, call)

    for (module, name), real in kept.items():
        wrap(module, name, real)
    try:
        yield operations
    finally:
        for (module, name), real in kept.items():
            setattr(module, name, real)
