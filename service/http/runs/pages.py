"""Pages of lists: where the next one starts, and the header that links to it."""

from typing import Annotated

from fastapi import Query, Request, Response

from service.http.runs.schemas import CURSOR_EXAMPLE
from service.http.runs.store import RunRecord

CURSOR = r"^\d{1,12}\.\d{1,9}-[0-9a-f]{12}$"
Cursor = Annotated[str, Query(pattern=CURSOR, examples=[CURSOR_EXAMPLE])]
"""The time and the id of the last run of a page: unlike a number of runs to skip, it holds while new ones arrive."""


def cursor_after(record: RunRecord) -> str:
    """The cursor of the page that follows this run."""
    return f"{record.created}-{record.id}"


def parse_cursor(cursor: str) -> tuple[float, str]:
    """Time and id of the run before the page."""
    created, _, id = cursor.partition("-")
    return float(created), id


def link_next(request: Request, response: Response, **query: object) -> None:
    """Add the header of RFC 8288 that links to the same request with another query; relative, for proxies."""
    url = request.url.include_query_params(**query)
    response.headers["Link"] = f'<?{url.query}>; rel="next"'
