"""The pages in a real browser without a network."""

import pytest

from tests.service.page.page import Page


@pytest.fixture
def open_page(browser, served):
    """A function: a client and a path -> the page there. No page may log anything but the responses of the statuses in
    `page.refused`, or make requests to other hosts."""
    opened = []

    def start(client, path="/"):
        opened.append(Page(browser, served(client)))
        opened[-1].go(path)
        return opened[-1]

    yield start
    for page in opened:
        page.check_traffic()
    browser.get("about:blank")
