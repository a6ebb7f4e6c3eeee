"""A page as a user sees it."""

import re
import shutil
from contextlib import contextmanager

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from learner.adapter import save_adapter
from learner.lora import lora_config

PATIENCE = 30
PHONE, DESKTOP = 390, 1250
PRESSABLE = """
const element = document.querySelector(arguments[0]);
element?.scrollIntoView({block: "center"});
return element && !element.disabled;
"""
CURVES = """
return [...document.querySelectorAll("figure:not([hidden])")].map(figure => [
    figure.querySelector("h3").innerText, ...(figure.querySelector(".plot").data ?? []).map(line => line.x.length)]);
"""
POLLS = "return performance.getEntriesByType('resource').filter(entry => entry.initiatorType === 'fetch').length"


class Page:
    """A tab of the browser that shows a page of the service at `url`."""

    def __init__(self, browser, url):
        self.browser, self.url, self.refused = browser, url, set()
        browser.get_log("browser")  # discard the log of earlier pages

    def go(self, path):
        self.check_traffic()
        self.browser.get(self.url + path)

    def until(self, condition):
        """The value of the condition, once it is true."""
        return WebDriverWait(self.browser, PATIENCE, ignored_exceptions=()).until(lambda _: condition())

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def has(self, selector):
        return bool(self.all(selector))

    def text(self, selector):
        """What an element shows; empty while there is none. Read at once, as elements may be replaced meanwhile."""
        return self.run("return document.querySelector(arguments[0])?.innerText.trim() ?? ''", selector)

    def value(self, selector):
        return self.run("return document.querySelector(arguments[0])?.value", selector)

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def write(self, selector, text):
        self.one(selector).send_keys(Keys.CONTROL, "a")
        self.one(selector).send_keys(text or Keys.DELETE)

    def choose(self, selector, text):
        Select(self.one(selector)).select_by_visible_text(text)

    def press(self, selector):
        """Click, even if the page is being updated meanwhile."""
        self.until(lambda: self.run(PRESSABLE, selector))
        self.one(selector).click()

    def polls(self):
        """Number of times that the page has asked for its newest state."""
        return self.run(POLLS)

    def next_polls(self, count=2):
        """Wait until the page has asked several more times, and shows the answers."""
        before = self.polls()
        self.until(lambda: self.polls() >= before + count)

    def rows(self):
        """The cells of the table of runs."""
        return self.run("return [...document.querySelectorAll('#runs tbody tr')].map(row => [...row.cells].map("
                        "cell => cell.innerText.trim()))")  # fmt: skip

    def curves(self):
        """Title of each plot, and the number of points of its lines."""
        return self.run(CURVES)

    @contextmanager
    def screen(self, width, scheme="light", height=844):
        """The page on a screen of this width and colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        try:
            yield
        finally:
            self.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def check_traffic(self):
        """Nothing was asked of other hosts, and nothing logged but refusals that the test expects."""
        asked = self.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
        assert all(name.startswith((self.url, "data:", "blob:")) for name in asked), asked
        for entry in self.browser.get_log("browser"):
            if self.url.startswith("http://seqrlhf") and "Opener-Policy header has been ignored" in entry["message"]:
                continue  # without TLS
            status = re.search(r"the server responded with a status of (\d+)", entry["message"])
            assert status and int(status[1]) in self.refused, entry


def add_adapter(client, run, start, config):
    """Give a run an adapter that models can load, and that changes nothing."""
    folder = client.app.state.runs.folder(run) / "adapter"
    shutil.rmtree(folder)
    save_adapter(start[0], lora_config(config.policy), config.policy.model, folder)
