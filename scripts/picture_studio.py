"""The picture of the studio in README.md: the ring after some hundred steps, taken by a real browser.

    python scripts/picture_studio.py [--out docs/pictures/ring.jpg] [--steps 600]

Needs the extra `studio`, playwright and a Chromium.
"""

import argparse
import io
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def picture(address: str, steps: int) -> bytes:
    """A PNG of the game in the plane."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 900}, locale="en-GB")
        page.goto(f"{address}/ring")
        page.wait_for_timeout(3000)
        page.click("#play")
        while not page.inner_text("#steps").isdigit() or int(page.inner_text("#steps")) < steps:
            page.wait_for_timeout(500)
        page.click("#play")
        page.wait_for_timeout(500)
        taken = page.screenshot(full_page=True)
        browser.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures/ring.jpg")
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-u", "-m", "hasama", "studio", folder, "--port", "0", "--no-browser"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout is not None
            found = re.search(r"http://\S+/", child.stdout.readline())
            assert found is not None
            png = picture(found[0].rstrip("/"), given.steps)
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(20)
    with Image.open(io.BytesIO(png)) as opened:
        shown = opened.convert("RGB")
    shown = shown.crop((0, 0, shown.width, min(shown.height, 780)))
    shown.resize((880, round(shown.height * 880 / shown.width)), Image.Resampling.LANCZOS).save(given.out, quality=85)
    print(f"{given.out}: {given.out.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
