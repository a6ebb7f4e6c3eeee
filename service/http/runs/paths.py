"""Where the service keeps its runs."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunPaths:
    """Paths below `serve.folder`."""

    root: Path  # absolute

    @property
    def database(self) -> Path:
        """SQLite file with the records of runs."""
        return self.root / "service.db"

    @property
    def requests(self) -> Path:
        """Folder of the requested configs."""
        return self.root / "requests"

    def request(self, id: str) -> Path:
        """Requested config of a run, which its job reads."""
        return self.requests / f"{id}.yaml"

    def folder(self, id: str) -> Path:
        """Run folder, which its job writes."""
        return self.root / id
