"""What `ray job submit --working-dir .` would send to the cluster."""

import logging
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE, create_package

from configs.errors import UsageError


def examine_upload(folder: Path) -> str:
    """Size and largest parts of the package that Ray makes of the folder.

    Raises `UsageError` where Ray would refuse it.
    """
    silent = logging.getLogger("seqrlhf.upload")
    silent.setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as work:
        package = Path(work) / "package.zip"
        # Ray's own packing, which no public function gives: a guess at its rules would be wrong when they change.
        create_package(str(folder), package, True, excludes=get_runtime_env_default_excludes(), logger=silent)
        size, parts = package.stat().st_size, Counter[str]()
        with zipfile.ZipFile(package) as files:
            for file in files.infolist():
                parts[file.filename.split("/")[0]] += file.compress_size
    largest = ", ".join(f"{name} {part / 1e6:.1f}" for name, part in parts.most_common(3))
    told = f"{size / 1e6:.1f} MB, of which {largest}"
    if size >= GCS_STORAGE_MAX_SIZE:
        raise UsageError(
            f"working_dir: {told}; Ray takes {GCS_STORAGE_MAX_SIZE / 1e6:.0f} MB. Name what is not needed in "
            f".gitignore or .rayignore, or submit from a folder without it"
        )
    return told
