"""The page that documents the API."""

import pytest

from tests.browser import save_picture
from tests.service.page.page import DESKTOP


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_operation_is_shown(client, open_page, scheme):
    operations = client.app.openapi()["paths"].values()
    page = open_page(client, "/docs")
    with page.screen(DESKTOP, scheme):
        page.until(lambda: page.has(".opblock"))
        assert len(page.all(".opblock")) == sum(len(methods) for methods in operations)
        assert page.one("nav a").get_attribute("href") == f"{page.url}/page/runs"
        save_picture(page.browser, f"docs-{scheme}")
