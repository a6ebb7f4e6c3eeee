"""The command `seqrlhf` of an installed project: runs ray_job.py as a script.

As a script, because Python then puts the folder of ray_job.py first on its path, and Ray adds it to its workers':
imports such as `from configs...` work as in a clone, although no such package is installed at the top level. This
module itself cannot import anything of the project.
"""

import os
import sys
from pathlib import Path

CODE = Path(__file__).resolve().parents[2]  # resolved, because Ray resolves the script's path too


def main() -> None:
    """Replace this process by `python ray_job.py` with the same arguments, in the same folder."""
    if names := shadows(Path.cwd()):
        found = ", ".join(names)
        print(f"error: {found} in this folder would be imported instead of seqrlhf's own; start it from another "
              "folder, or with `python ray_job.py` in a clone", file=sys.stderr)  # fmt: skip
        sys.exit(2)
    os.execv(sys.executable, [sys.executable, str(CODE / "ray_job.py"), *sys.argv[1:]])


def shadows(folder: Path) -> list[str]:
    """Modules in the folder named like the project's packages: Ray's workers search the current folder first."""
    names = sorted(path.parent.name for path in CODE.glob("*/__init__.py")) if folder.resolve() != CODE else []
    return [n for n in names if (folder / n / "__init__.py").exists() or (folder / f"{n}.py").exists()]
