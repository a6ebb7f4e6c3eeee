"""The command `seqrlhf` of an installed project: ray_job.py, run as a script.

As a script and not as a function, so that Python puts the folder that ray_job.py lies in first on its path, and Ray
adds it to its workers': there the code finds itself by the names that it has in a clone (`from configs...`), of which
none lies at the top of the installed packages. Nothing of the project can be imported here.
"""

import os
import sys
from pathlib import Path

CODE = Path(__file__).resolve().parents[2]  # resolved, as Ray resolves a script's: it takes no other for the path


def main() -> None:
    """Become `python ray_job.py`, with the same arguments and in the same folder."""
    if names := shadows(Path.cwd()):
        found = ", ".join(names)
        print(f"error: {found} in this folder would be loaded in the place of seqrlhf's own; start it from another "
              "folder, or in a clone of the project by `python ray_job.py`", file=sys.stderr)  # fmt: skip
        sys.exit(2)
    os.execv(sys.executable, [sys.executable, str(CODE / "ray_job.py"), *sys.argv[1:]])


def shadows(folder: Path) -> list[str]:
    """Modules in the folder that are called like packages of the project: Ray's workers look into the current first."""
    names = sorted(path.parent.name for path in CODE.glob("*/__init__.py")) if folder.resolve() != CODE else []
    return [n for n in names if (folder / n / "__init__.py").exists() or (folder / f"{n}.py").exists()]
