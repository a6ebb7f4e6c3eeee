"""A service for people who compare summaries, in a process of its own that can be killed: `FOLDER PORT [KEYS]`."""

import sys
from pathlib import Path

import uvicorn

from configs.load import load_config
from tests.service.conftest import make_service

folder, port, *keys = sys.argv[1:]
app = make_service(load_config([f"--serve.folder={folder}"]), None, *map(Path, keys))
print("ready", flush=True)
uvicorn.run(app, port=int(port), log_level="error", lifespan="off")
