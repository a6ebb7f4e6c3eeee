"""The package that `ray job submit --working-dir .` uploads to the cluster."""

import logging
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE, create_package

from configs.errors import UsageError


def examine_upload(folder: Path) -> str:
    """Size and largest parts of the package that Ray would make of the folder, in one line.

    Raises `UsageError` if Ray would refuse it.
    """
    quiet = logging.getLogger("seqrlhf.upload")
    quiet.setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as work:
        package = Path(work) / "package.zip"
        # Ray's own packaging, which has no public interface: a copy of its rules would be outdated when they change.
        create_package(str(folder), package, True, excludes=get_runtime_env_default_excludes(), logger=quiet)
        size, parts = package.stat().st_size, Counter[str]()
        with zipfile.ZipFile(package) as files:
            for file in files.infolist():
                parts[file.filename.split("/")[0]] += file.compress_size
    largest = ", ".join(f"{name} {part / 1e6:.1f}" for name, part in parts.most_common(3))
    summary = f"{size / 1e6:.1f} MB (largest parts: {largest})"
    if size >= GCS_STORAGE_MAX_SIZE:
        raise UsageError(
            f"working_dir: {summary}; Ray accepts at most {GCS_STORAGE_MAX_SIZE / 1e6:.0f} MB. List what the job does "
            f"not need in .gitignore or .rayignore, or submit from another folder"
        )
    return summary
