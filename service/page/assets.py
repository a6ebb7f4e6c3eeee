"""The files that pages load: scripts, style sheet and icon. Their paths hold a hash, so that browsers keep them."""

import gzip
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response
from plotly.offline import get_plotlyjs

from service.http.auth import Reader
from service.http.errors import NotFound
from service.http.root_path import outside

FOLDER = Path(__file__).parent / "static"
PLOTLY = "plotly.min.js"
TYPES = {
    "annotate.js": "text/javascript",
    "docs.css": "text/css",
    "docs.js": "text/javascript",
    "htmx.min.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "page.css": "text/css",
    "page.js": "text/javascript",
    PLOTLY: "text/javascript",
}
"""Media type of each file."""
CACHED = {"Cache-Control": "private, max-age=31536000, immutable", "Vary": "Accept-Encoding"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Asset:
    """A file that pages load."""

    content: bytes

    @cached_property
    def digest(self) -> str:
        """Names this content in the file's path."""
        return sha256(self.content).hexdigest()[:12]

    @cached_property
    def packed(self) -> bytes:
        """The content compressed: plotly.js has megabytes."""
        return gzip.compress(self.content, 6)


@cache
def asset(name: str) -> Asset:
    """The file with a name in `TYPES`."""
    return Asset(get_plotlyjs().encode() if name == PLOTLY else (FOLDER / name).read_bytes())


def asset_path(name: str, area: str = "/page") -> str:
    """Path of a file, for a page of an area: keys that open one do not open the other."""
    return outside(f"{area}/static/{asset(name).digest}/{name}")


@router.get("/page/static/{digest}/{name}")
def static(key: Reader, digest: str, name: str, accept_encoding: Annotated[str, Header()] = "") -> Response:
    """A file of the pages."""
    return answer_with(digest, name, accept_encoding)


def answer_with(digest: str, name: str, accept_encoding: str) -> Response:
    """A file, which the browser may keep for a year. Raises `NotFound`."""
    if name not in TYPES or asset(name).digest != digest:
        raise NotFound(f"no file {name!r} of this version; reload the page")
    packed = "gzip" in accept_encoding
    headers = CACHED | ({"Content-Encoding": "gzip"} if packed else {})
    return Response(asset(name).packed if packed else asset(name).content, media_type=TYPES[name], headers=headers)
