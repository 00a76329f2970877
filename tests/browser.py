"""Pages in headless Chromium: what a browser fetched, complained about and shows."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Browser:
    """An open page with what it asked the network for and what it wrote to the console."""

    def __init__(self, page):
        self.page, self.requests, self.complaints = page, [], []
        page.on("request", lambda r: self.requests.append(r.url))
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.complaints.append(str(e)))

    @property
    def fetched(self) -> list[str]:
        """Requests that left the file: all but `file:`, `data:` and `blob:`."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@contextmanager
def browser(width: int = 1280, height: int = 900) -> Iterator[Browser]:
    """Start Chromium with one page of the given size; fail, not skip, when it is missing."""
    path = shutil.which("chromium")
    assert path, (
        "chromium is not installed: `make test` installs it (apt-get install chromium) before it runs the tests."
    )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGS)
        try:
            yield Browser(chromium.new_page(viewport={"width": width, "height": height}))
        finally:
            chromium.close()
