"""Chromium without a window, which Debian's packages chromium and chromium-driver bring."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

QUIET = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"]
QUIET += ["disable-background-networking", "disable-component-update", "disable-sync"]


def chromium(profile: Path, size: str, **capabilities: Any) -> Chrome:
    """A browser of a size, such as "1500,1100"; without it the test is skipped, or fails in CI."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        complain = pytest.fail if "CI" in os.environ else pytest.skip
        complain("chromium and chromedriver are not installed (Debian: chromium-driver)")
    options = ChromeOptions()
    options.binary_location = binary
    for flag in [*QUIET, f"window-size={size}", f"user-data-dir={profile}"]:
        options.add_argument(f"--{flag}")
    for name, value in capabilities.items():
        options.set_capability(f"goog:{name}", value)
    return Chrome(options=options, service=Service(driver))
