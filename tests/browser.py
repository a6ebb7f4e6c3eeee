"""A Chromium to look at pages with, and pictures of what it shows."""

import base64
import os
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service


def chromium(*extra: str) -> webdriver.Chrome:
    """Chromium without a network. Skips the test where there is none."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("chromium and chromedriver are not installed (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    offline = "--proxy-server=127.0.0.1:1"  # nothing listens there
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1250,2000", offline,
                     "--disable-background-networking", "--disable-component-update", "--disable-sync",
                     *extra):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def save_picture(browser: webdriver.Chrome, name: str) -> None:
    """Write the whole page as `name`.png into the folder that SEQRLHF_SCREENSHOTS names, if it is set."""
    if folder := os.environ.get("SEQRLHF_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        shot = {"format": "png", "captureBeyondViewport": True}
        taken = browser.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(taken))
