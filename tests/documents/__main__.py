"""Try all commands of the documents, until one does not work.

They run in a folder of links to the project, one after another in this process where that is possible: starting Python
and loading the models' libraries takes longer than most of them.
"""

import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.documents.pages import ROOT, blocks, collected, metric_names
from tests.documents.table import TABLE
from tests.documents.ways import Failed, Place, collect


def undocumented_metrics(steps: Path) -> list[str]:
    """Metrics of a run that docs/metrics.md does not describe."""
    names = metric_names("What each one means")
    patterns = [re.sub(r"<\w+>", "[^/]+", name) for name in names]
    found = json.loads(steps.read_text().splitlines()[-1])
    return [name for name in found if name != "step" and not any(re.fullmatch(p, name) for p in patterns)]


def prepare(folder: Path) -> None:
    """Links to the project, and the files that the documents let users write."""
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name != "runs":
            (folder / path.name).symlink_to(path)
    text = (ROOT / "docs/rewards.md").read_text(encoding="utf-8")
    (folder / "my_rewards.py").write_text(next(block for _, block in blocks(text) if "def polite" in block))
    (folder / "other_loop.py").write_text(
        "import time\nfor step in range(9):\n    time.sleep(0.1)\n    print('{\"step\": %d}' % step, flush=True)\n"
    )
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    sys.path.append(str(folder))  # behind the project: modules loaded from here would be gone with the folder
    os.chdir(folder)


def try_all() -> None:
    """Try every command. Raises `Failed` at the first one that does not work."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        place = Place(Path(name), stack)
        prepare(place.folder)
        for command, way in TABLE.items():
            attempt(command, way.__class__.__name__.lower(), lambda c=command, w=way: w.try_out(c, place))
        if unknown := undocumented_metrics(Path("runs/own/steps.jsonl")):
            raise Failed(f"docs/metrics.md does not describe {', '.join(unknown)}")
        os.chdir(ROOT)
    for words in collected():
        attempt(f"pytest {words}", "collect", lambda w=words: collect(w))


def attempt(command: str, way: str, act: Callable[[], None]) -> None:
    print(f"{way:>9}  {command}", flush=True)
    began = time.perf_counter()
    try:
        act()
    except Exception as error:
        raise Failed(f"{command}\n{error}") from error
    if (seconds := time.perf_counter() - began) > 1:
        print(f"{'':>9}  {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    began = time.perf_counter()
    try:
        try_all()
    except Failed as failure:
        sys.exit(f"failed: {failure}")
    print(f"all {len(TABLE)} documented commands work, {time.perf_counter() - began:.0f} s")
