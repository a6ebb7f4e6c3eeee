"""The routes of all pages."""

from fastapi import FastAPI

from service.page import (
    annotate_page,
    api_docs,
    assets,
    campaigns_page,
    run_page,
    runs_page,
    start_page,
    try_page,
)
from service.page.rendering import error_page


def add_pages(app: FastAPI) -> None:
    """Add the pages to the app."""
    for part in (runs_page, run_page, start_page, try_page, campaigns_page, annotate_page, assets, api_docs):
        app.include_router(part.router)
    app.mount(api_docs.FILES, api_docs.files(), name="docs-files")
    app.state.error_page = error_page
