"""The studio in a real browser: from digits to a grid, stop, go on, explore, paint with a mask, languages, keys."""

import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from command import run_studio, start
from easel import hasama_here, lay_out
from hasama.runs.folder import Run

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("starlette")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium"),
]
KEPT = os.environ.get("HASAMA_SCREENSHOTS")
"""A folder for pictures of the pages."""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory):
    """The address of a studio over a folder with one small run, `cats`; and the folder."""
    root = tmp_path_factory.mktemp("studio")
    words = ["--size", 16, "--width", 8, "--batch", 8, "--latent-size", 8, "--sample-kimg", 0.016]
    done = hasama_here("train", "digits", "dcgan", *words, "--steps", 6, "--threads", 1, "--out", root / "cats")
    assert done.returncode == 0, done.stderr
    child = start("studio", root, "--port", 0, "--no-browser", main=run_studio)
    assert child.stdout is not None
    found = re.search(r"http://\S+/", child.stdout.readline())
    assert found is not None
    yield found[0].rstrip("/"), root
    child.send_signal(signal.SIGINT)
    try:
        child.wait(60)
    finally:
        child.kill()


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A page that fails the test if a script fails or anything outside is asked for."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 400 else None)
    page.on("request", lambda request: None if _is_ours(request.url) else wrong.append(request.url))
    yield page
    context.close()
    assert not wrong, wrong


def _is_ours(address: str) -> bool:
    return address.startswith(("http://127.0.0.1:", "blob:", "data:"))


def until(page, expression: str, seconds: float = 120) -> None:
    """Wait until an expression holds. (Playwright's own way needs a page that may evaluate texts.)"""
    end = time.monotonic() + seconds

    def holds() -> bool:
        try:
            return bool(page.evaluate(expression))
        except sync_api.Error:  # between two pages there is nothing to ask
            return False

    while not holds():
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def stands_still(page, told: Callable[[], object], seconds: float = 60) -> None:
    """Wait until what it tells is the same for a while: what was on its way may come yet."""
    end, last = time.monotonic() + seconds, object()
    while last != (last := told()):
        assert time.monotonic() < end, "it goes on and on"
        page.wait_for_timeout(800)


def shot(page, name: str) -> None:
    """Keep pictures of a page, wide and narrow; neither may be wider than the window."""
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (name, width)
        if KEPT:
            Path(KEPT).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{KEPT}/{name}-{width}.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_timeout(300 if KEPT else 50)


def test_from_digits_to_samples_stop_and_go_on(studio, page):
    address, root = studio
    page.goto(address)
    shot(page, "home")
    page.click("text=Train on pictures")
    shot(page, "train")
    page.fill("input[name=source]", "digits")
    page.fill("input[name=hours]", "0.01")
    page.fill("input[name=size]", "16")
    page.click("text=Look at them")
    page.wait_for_selector("text=A proposal", timeout=120_000)
    page.click("summary:has-text('Everything else')")
    page.click("summary:has-text('Length, arithmetic')")
    shot(page, "proposal")
    page.fill("input[name=kimg]", "400")
    quick = {"width": 4, "batch": 8, "vision_aid": "none", "quality_kimg": 0, "health_kimg": 0}
    for name, value in quick.items():  # a step of milliseconds: what is asked of the page does not wait for it
        page.evaluate(
            "([name, value]) => { document.querySelector(`[name=${name}]`).value = value }", [name, str(value)]
        )
    page.fill("input[name=sample_kimg]", "0.2")
    page.fill("input[name=name]", "digits")
    page.click("button:has-text('Start training') >> nth=0")
    page.wait_for_selector("section.run img.grid:not([hidden])", timeout=120_000)
    until(page, "document.querySelector('.status').textContent === 'training'")
    until(page, "Number(document.querySelector('input[type=range]')?.max) >= 2", 120)
    page.wait_for_selector(".losses .main-svg", timeout=60_000)
    shot(page, "watch")
    before = page.get_attribute("img.grid", "src")
    page.locator("input[type=range]").focus()
    page.keyboard.press("Home")
    until(page, f"!document.querySelector('img.grid').src.endsWith({before!r})")
    page.click("text=Save and stop")
    until(page, "document.querySelector('.status').textContent === 'paused'")
    assert (root / "digits" / "game.pt").exists()
    page.click("button:has-text('Go on')")
    until(page, "document.querySelector('.status').textContent === 'training'")
    page.click("text=Save and stop")
    until(page, "document.querySelector('.status').textContent === 'paused'")


def test_sliders_over_a_generator(studio, page):
    address, _root = studio
    page.goto(f"{address}/watch?run=cats")
    held = []
    page.route(
        "**/static/explore.js", lambda route: held.append(route)
    )  # who is quicker than the script loses nothing
    page.click("text=Explore")
    page.fill("input[name=seed]", "7")
    asked = time.monotonic()
    while not held:
        assert time.monotonic() < asked + 120
        page.wait_for_timeout(50)
    held[0].continue_()
    until(page, "document.querySelector('#picture').dataset.milliseconds")
    first = page.get_attribute("#picture", "src")
    page.focus("#pad")
    page.keyboard.press("ArrowRight")
    until(page, f"document.querySelector('#picture').src !== {first!r}")
    assert page.input_value("input[name=across]") == "0.050"
    second = page.get_attribute("#picture", "src")
    page.click("text=A good one")
    until(page, "document.querySelector('input[name=seed]').value !== '7'", 60)
    until(page, f"document.querySelector('#picture').src !== {second!r}")
    assert page.input_value("input[name=across]") == "0.000"
    shot(page, "explore")


@pytest.mark.slow
def test_styles_are_mixed_and_a_photo_is_moved_on_from(studio, page, tmp_path: Path):
    """Sliders mix two seeds; a photo is projected, and mixing, truncation and directions move it from there."""
    address, root = studio
    small = ["--size", 16, "--width", 4, "--batch", 4, "--latent-size", 8, "--steps", 4, "--threads", 1]
    done = hasama_here("train", "digits", "stylegan", *small, "--out", root / "styled")
    assert done.returncode == 0, done.stderr
    content, _ = lay_out(tmp_path)

    def moved(act) -> str:
        """Another picture comes when something is done; its pixels."""
        before = page.get_attribute("#picture", "src")
        act()
        until(page, f"document.querySelector('#picture').getAttribute('src') !== {before!r}", 20)
        page.wait_for_timeout(300)
        return page.evaluate(PICTURED)

    page.goto(f"{address}/explore?run=cats")
    assert page.locator("input[name=layer]").count() == 0
    page.goto(f"{address}/explore?run=styled")
    assert page.is_visible("text=The last generator of this training is shown.")
    first = page.evaluate(PICTURED)
    mixed = moved(lambda: page.fill("input[name=other]", "9"))
    page.focus("input[name=layer]")
    assert moved(lambda: page.keyboard.press("End")) == first != mixed  # no layer is left to the other seed
    whole = moved(lambda: page.keyboard.press("Home"))
    assert moved(lambda: page.fill("input[name=seed]", "5")) == whole  # of the first seed none is left
    shot(page, "explore-mixed")
    page.set_input_files("input[name=photo]", str(content))
    page.fill("input[name=steps]", "3")
    page.click("text=Look for it")
    page.wait_for_selector("text=Move on from it", timeout=120_000)
    until(page, "document.querySelector('img.picture').naturalWidth > 300")
    shot(page, "projection")
    page.click("text=Move on from it")
    page.wait_for_selector("text=The sliders begin at the projection")
    until(page, "document.querySelector('#picture').complete")
    photo = page.evaluate(PICTURED)
    assert photo not in (first, mixed, whole)
    assert moved(lambda: page.fill("input[name=other]", "9")) != photo
    assert moved(lambda: page.fill("input[name=other]", "")) == photo
    assert moved(lambda: page.fill("input[name=truncation]", "0.3")) != photo
    assert moved(lambda: page.fill("input[name=truncation]", "1")) == photo
    assert moved(lambda: page.fill("input.along >> nth=0", "3")) != photo
    shot(page, "explore-projected")
    with page.expect_download() as downloaded:
        page.click("#keep")
    with Image.open(downloaded.value.path()) as kept:
        assert kept.size == (16, 16)


PICTURED = """(() => {
  const image = document.querySelector("#picture");
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  canvas.getContext("2d").drawImage(image, 0, 0, 64, 64);
  return canvas.toDataURL();
})()"""
"""What a page shows."""


def test_a_painting_with_a_drawn_mask(studio, page, tmp_path: Path):
    address, _root = studio
    content, style = lay_out(tmp_path)
    page.goto(f"{address}/paint?recipe=instant")
    page.set_input_files("#content-file", str(content))
    page.set_input_files("#style-files", str(style))
    page.wait_for_selector("canvas.mask:visible")
    until(page, "document.querySelector('canvas.mask').width === 720")
    canvas = page.locator("canvas.mask")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 60, steps=5)
    page.mouse.up()
    page.fill("input[name=size]", "64")
    shot(page, "paint")
    page.focus("#paint button:has-text('Paint') >> nth=0")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Download", timeout=120_000)
    page.locator("#at").focus()
    page.keyboard.press("End")
    # The page has just come anew: on a busy machine its words are there before its styles.
    until(page, "getComputedStyle(document.querySelector('.over')).clipPath === 'inset(0px 0px 0px 100%)'")
    page.keyboard.press("Home")
    shot(page, "painting")
    page.click("text=Paint it otherwise")
    page.wait_for_selector("text=The same pictures as before")


BRIEF_TEACHING = {
    "crop": 32, "batch": 1, "width": 8, "style_size": 64, "content_layers": "relu2_1",
    "style_layers": "relu1_1,relu2_1",
}  # fmt: skip


def test_a_network_is_taught_stopped_goes_on_and_paints(studio, page, tmp_path: Path):
    address, root = studio
    content, style = lay_out(tmp_path)
    page.goto(f"{address}/paint")
    page.click("text=Teach a network to paint")
    page.set_input_files("#painting-files", str(style))
    page.fill("input[name=source]", str(tmp_path))
    page.fill("input[name=name]", "stripes")
    page.click("summary:has-text('Teaching')")
    for name, value in {"kimg": 500, **BRIEF_TEACHING}.items():
        page.fill(f"input[name={name}]", str(value))
    shot(page, "teach")
    page.focus("button:has-text('Start teaching')")
    page.keyboard.press("Enter")
    page.wait_for_selector("img.preview:not([hidden])", timeout=120_000)
    until(page, "document.querySelector('.status').textContent === 'at work'")
    page.wait_for_selector(".losses .main-svg", timeout=30_000)
    until(page, "Number(document.querySelector('.seen').textContent) > 20")
    first = page.get_attribute("img.preview", "src")
    shot(page, "taught")
    page.click("text=Save and stop")
    until(page, "document.querySelector('.status').textContent === 'paused'")
    folder = root / "taught" / "stripes.teaching"
    assert (folder / "state.pt").exists()
    stood = int(page.inner_text(".seen"))
    until(page, f"document.querySelector('img.preview').getAttribute('src') !== {first!r}")
    page.click("button:has-text('Go on')")
    until(page, f"Number(document.querySelector('.seen').textContent) > {stood}")
    page.click("text=Save and stop")
    until(page, "document.querySelector('.status').textContent === 'paused'")
    lines = [json.loads(line)["images_seen"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert stood + 1 in lines  # it went on where it stood
    assert lines == sorted(set(lines))
    with page.expect_download() as downloaded:
        page.click("text=Download")
    assert Path(downloaded.value.path()).read_bytes() == (folder / "painter.safetensors").read_bytes()
    assert downloaded.value.suggested_filename == "stripes.safetensors"
    page.click("text=To all taught networks")
    assert page.inner_text("ul.cards h3") == "stripes"
    shot(page, "teach-taught")
    page.click("ul.cards h3 a")
    page.click("text=Paint with it")
    page.set_input_files("#content-file", str(content))
    assert page.input_value("select[name=network]") == "taught/stripes"
    page.fill("input[name=strength]", "0.5")
    shot(page, "paint-taught")
    page.click("button:has-text('Paint')")
    page.wait_for_selector("text=Download", timeout=120_000)
    assert (root / "paintings" / "c--stripes.png").exists()
    assert json.loads((root / "paintings" / "c--stripes.png.json").read_text())["mix"] == [0.5, 0.5]
    page.wait_for_selector("a:has-text('Paint what the camera sees')")
    shot(page, "painting-taught")


@pytest.fixture(scope="module")
def taught(studio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network in the studio's folder that was taught in a terminal, a little."""
    _, style = lay_out(tmp_path_factory.mktemp("given"))
    out = studio[1] / "taught" / "terminal.safetensors"
    flags = [part for name, value in BRIEF_TEACHING.items() for part in ("--" + name.replace("_", "-"), value)]
    done = hasama_here("teach", style, "--kimg", 0.02, *flags, "--threads", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


FARNESS = """(() => {
  const painted = document.querySelector("#painted");
  const seen = Object.assign(document.createElement("canvas"), { width: painted.width, height: painted.height });
  seen.getContext("2d").drawImage(document.querySelector("#seen"), 0, 0, seen.width, seen.height);
  const [a, b] = [painted, seen].map((one) => one.getContext("2d").getImageData(0, 0, seen.width, seen.height).data);
  return a.reduce((sum, value, at) => sum + Math.abs(value - b[at]), 0) / a.length;
})()"""
"""How far what is painted is from what the camera sees now, of 255."""


def test_the_camera_is_painted(studio, taught: Path, page):
    address, _root = studio
    page.goto(f"{address}/taught?name=taught/terminal")
    page.click("text=Paint what the camera sees")
    page.click("text=Start the camera")
    until(page, "Number(document.querySelector('#painted').dataset.count) >= 8")
    assert float(page.inner_text("#speed")) > 0
    assert page.evaluate("document.querySelector('#painted').width") == 256
    assert page.evaluate(FARNESS) > 10  # it is not what the camera sees
    shot(page, "camera")
    page.focus("#strength")
    page.keyboard.press("Home")
    page.select_option("#width", "128")
    until(page, "document.querySelector('#painted').width === 128")
    page.click("text=Keep this picture")
    page.click("#kept a")
    shot(page, "camera-kept")
    page.click("#stop")
    stands_still(page, lambda: page.get_attribute("#painted", "data-count"))
    tracks = "document.querySelector('#seen').srcObject.getTracks()"
    assert page.evaluate(f"{tracks}.every((one) => one.readyState === 'ended')")


def test_where_there_is_no_camera_none_is_offered(studio, taught: Path, page):
    address, _root = studio
    page.add_init_script("delete Navigator.prototype.mediaDevices")
    page.goto(f"{address}/taught?name=taught/terminal")
    page.wait_for_timeout(500)
    assert page.is_visible("text=Paint with it")
    assert not page.is_visible("text=Paint what the camera sees")
    page.goto(f"{address}/camera")
    page.wait_for_selector("text=This browser gives no camera here")
    assert page.is_disabled("#start")


def test_the_game_in_the_plane(studio, page):
    address, _root = studio
    page.goto(f"{address}/ring")
    until(page, "document.querySelector('#modes').textContent !== '–'", 60)
    page.click("text=Step: discriminator")
    until(page, "document.querySelector('#steps').textContent === '1'")
    page.click("text=Step: generator")
    until(page, "document.querySelector('#steps').textContent === '2'")
    page.click("#play")
    until(page, "Number(document.querySelector('#steps').textContent) > 40")
    page.click("#play")
    shot(page, "ring")
    stands_still(page, lambda: page.inner_text("#steps"))
    page.evaluate("window.scrollTo(0, 0)")
    page.locator("#plane").click(position={"x": 300, "y": 120})
    until(page, "document.querySelector('#modes').textContent.includes('/ 1 ')")
    assert page.input_value("select[name=data]") == "drawn"


def test_the_whole_page_speaks_kiswahili(studio, page):
    address, _root = studio
    page.goto(f"{address}/train")
    page.click("text=Kiswahili")
    page.wait_for_selector("html[lang=sw]")
    assert page.url == f"{address}/train"
    assert page.inner_text("h1") == "Funza kwa picha zako mwenyewe"
    page.goto(address)
    assert page.get_attribute("html", "lang") == "sw"
    shot(page, "kiswahili")


def test_everything_is_reached_by_keys(studio, page):
    address, _root = studio
    page.goto(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.getAttribute('href') || document.activeElement.tagName"))
    assert {"/", "/train", "/paint", "BUTTON", "INPUT"} <= seen
    page.evaluate("document.querySelector('.skip').focus()")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('a.button')"):
            break
    style, width = page.evaluate("(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle("
                                 "document.activeElement))")  # fmt: skip
    assert style != "none"
    assert width != "0px"


def test_dark_pages_are_dark(studio, chromium):
    address, _root = studio
    shades = {}
    for scheme in ("dark", "light"):
        context = chromium.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto(address)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert colour.startswith("rgb("), "a colour of its own, and not what is behind the page"
        shades[scheme] = sum(map(int, re.findall(r"\d+", colour)[:3]))
        context.close()
    assert shades["dark"] < 150 < 600 < shades["light"]


def test_two_browsers_see_the_same_run(studio, chromium):
    address, _root = studio
    pages = [chromium.new_context().new_page() for _ in range(2)]
    for page in pages:
        page.goto(f"{address}/watch?run=cats")
    until = time.monotonic() + 20
    while time.monotonic() < until and pages[0].inner_text(".kimg") != pages[1].inner_text(".kimg"):
        time.sleep(0.3)
    assert pages[0].inner_text(".kimg") == pages[1].inner_text(".kimg") != "0"
    for page in pages:
        page.context.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from npm."""
    place, npm = tmp_path_factory.mktemp("axe"), shutil.which("npm")
    if npm is None:
        pytest.skip("no npm")
    try:
        packed = subprocess.run([npm, "pack", "axe-core@4", "--silent"], cwd=place, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("npm cannot be reached")
    archives = list(place.glob("*.tgz"))
    if packed.returncode or not archives:
        pytest.skip("npm cannot be reached")
    with tarfile.open(archives[0]) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


def test_axe_finds_nothing_serious(studio, taught: Path, chromium, axe: str):
    """Every rule on the light pages; the dark ones differ in nothing but colours."""
    address, _root = studio
    context = chromium.new_context()
    page, wrong = context.new_page(), []
    for path in (
        "/",
        "/watch?run=cats",
        "/explore?run=cats",
        "/train",
        "/paint",
        "/paint?recipe=instant",
        "/paint?recipe=taught",
        "/teach",
        "/taught?name=taught/terminal",
        "/camera",
        "/ring",
        "/learn",
        *(f"/learn/lesson?lesson={name}" for name in ("game", "dirac", "convolution", "growing", "neighbour")),
        "/learn/quiz?which=before",
        "/learn/quiz?which=after&q0=0&q1=1",
        "/nowhere",
    ):
        page.emulate_media(color_scheme="light")
        page.goto(address + path)
        page.wait_for_timeout(800)
        page.evaluate(axe)
        for scheme, rules in (("light", "{}"), ("dark", "{ runOnly: ['color-contrast'] }")):
            page.emulate_media(color_scheme=scheme)
            for found in page.evaluate(f"axe.run(document, {rules})")["violations"]:
                if found["impact"] in ("serious", "critical"):
                    wrong.append((path, scheme, found["id"], found["nodes"][0]["html"][:200]))
    context.close()
    assert not wrong


def test_lessons_and_their_experiments(studio, page):
    address, _root = studio
    page.goto(f"{address}/learn")
    shot(page, "learn")
    page.click("ol.steps a >> nth=1")
    until(page, "document.querySelector('#modes').textContent !== '–'", 60)
    shot(page, "lesson-game")
    page.goto(f"{address}/learn/lesson?lesson=strong")
    until(page, "document.querySelector('#modes').textContent !== '–'", 60)
    assert page.input_value("[name=discriminator_lr]") == "0.02"
    assert page.input_value("[name=objective]") == "minimax"
    page.click("#play")
    until(page, "document.querySelector('#verdict').textContent.includes('discriminator')")
    page.click("#play")
    page.goto(f"{address}/learn/lesson?lesson=dirac")
    until(page, "document.querySelector('#ends').textContent === document.querySelector('#ends').dataset.round")
    page.check("[name=at_once]")
    until(page, "document.querySelector('#ends').textContent === document.querySelector('#ends').dataset.out")
    page.select_option("[name=penalty]", "r1")
    until(page, "document.querySelector('#ends').textContent === document.querySelector('#ends').dataset.in")
    page.focus("#portrait")
    page.keyboard.press("ArrowUp")
    until(page, "document.querySelector('[name=psi]').value === '0.10'")
    shot(page, "lesson-dirac")
    page.goto(f"{address}/learn/lesson?lesson=convolution")
    until(page, "document.querySelector('#even').dataset.now === 'uneven'")
    shot(page, "lesson-convolution")
    page.fill("[name=kernel]", "4")
    until(page, "document.querySelector('#even').dataset.now === 'even'")
    page.goto(f"{address}/learn/lesson?lesson=growing")
    page.focus("[name=at]")
    page.keyboard.press("End")
    until(page, "document.querySelector('#told').textContent.includes('64x64')")
    until(
        page,
        "document.querySelector('#picture').src.includes('at=4&') && document.querySelector('#picture').complete",
    )
    shot(page, "lesson-growing")
    page.goto(f"{address}/learn/lesson?lesson=neighbour")
    page.focus("[name=step]")
    page.keyboard.press("ArrowRight")
    until(page, "Number.parseFloat(document.querySelector('#places').textContent) > 50")
    assert page.evaluate("Number.parseFloat(document.querySelector('#gram').textContent)") < 50
    shot(page, "lesson-neighbour")


def test_a_quiz_by_the_keyboard(studio, page):
    address, _root = studio
    page.goto(f"{address}/learn/quiz?which=before")
    shot(page, "quiz")
    page.focus("[name=q0] >> nth=0")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.focus("form button")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=status]")
    assert page.locator("label.tick.right").count() >= 12
    shot(page, "quiz-told")
    page.click("nav a:has-text('Kiswahili')")
    page.wait_for_selector("html[lang=sw]")
    assert "which=before" in page.url


def test_a_picture_of_ones_own_is_projected(studio, page, tmp_path: Path):
    address, _root = studio
    content, _style = lay_out(tmp_path)
    page.goto(f"{address}/explore?run=cats")
    page.set_input_files("input[name=photo]", str(content))
    page.fill("input[name=steps]", "2")
    page.click("text=Look for it")
    page.wait_for_selector("text=Move on from it", timeout=120_000)
    shot(page, "projection")
    page.click("text=Move on from it")
    page.wait_for_selector("input[name=projected]", state="attached")
    before = page.get_attribute("#picture", "src")
    assert "projected=" in before
    page.fill("input[name=truncation]", "0.5")
    until(
        page, f"document.querySelector('#picture').src !== {before!r} && document.querySelector('#picture').complete"
    )
    assert "projected=" in page.get_attribute("#keep", "href")
    shot(page, "explore-projected")


def test_a_folder_that_is_dropped_is_opened(studio, page):
    """With entries as browsers make them: a page cannot drop folders on itself."""
    address, _root = studio
    page.goto(f"{address}/train")
    names = page.evaluate("""async () => {
      const { filesIn } = await import("/static/folders.js");
      const file = (name) => ({ name, isDirectory: false, file: (done) => done(new File(["x"], name)) });
      const folder = (name, inside) => {
        const parts = [inside.slice(0, 2), inside.slice(2), []];
        return { name, isDirectory: true, createReader: () => ({ readEntries: (done) => done(parts.shift()) }) };
      };
      const nested = folder("b", [file("2.JPG"), file(".DS_Store"), file("3.webp")]);
      const given = [folder("a", [file("1.png"), file("notes.txt"), nested]), file("4.png")];
      const all = await filesIn(given, [".png", ".jpg", ".webp"]);
      return all.map((one) => one.name);
    }""")
    assert names == ["1.png", "2.JPG", "3.webp", "4.png"]
    page.evaluate("""() => {
      const dropped = new DataTransfer();
      dropped.items.add(new File(["x"], "one.png"));
      dropped.items.add(new File(["x"], "two.png"));
      document.querySelector(".drop").dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true }));
    }""")
    until(page, "document.querySelector('#files').files.length === 2")
    assert page.text_content(".chosen") == "one.png, two.png"


# --- pages that stay open, and pages that one comes back to ----------------------------------------


def without_curves(route) -> None:
    """The library that draws them is large, and a page does without."""
    route.fulfill(body="", content_type="text/javascript")


@pytest.fixture
def quiet(chromium):
    """A page that may be refused something, with a clock that can be put forward."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    page = context.new_page()
    page.route("**/static/plotly.js", without_curves)
    page.clock.install()
    yield page
    context.close()


def test_an_open_page_follows_its_run(studio, quiet):
    """What was not there yet, what ends, what the doctor says otherwise, and who of two loops is refused."""
    address, root = studio
    shutil.copytree(root / "cats", root / "young")
    run, length = Run(root / "young"), Run(root / "cats").recipe().kimg
    run.generator.unlink()
    run.save_recipe(run.recipe().but(kimg=1.0))
    told: dict = {"words": "as one"}

    def doctor(route) -> None:
        if told["words"] == "refused":
            route.fulfill(status=422, json={"error": "The doctor is out."})
            return
        remedy = {"flags": "--batch 8", "why": "it helps"}
        found = {"name": "x", "severity": "serious", "holds": True, "title": "It", "explanation": told["words"]}
        route.fulfill(json={"verdict": "Odd.", "findings": [{**found, "remedies": [remedy]}]})

    quiet.route("**/api/health?*", doctor)
    quiet.goto(f"{address}/watch?run=young")
    until(quiet, "document.querySelector('.finding p')?.textContent === 'as one'")
    until(quiet, "document.querySelector('.status').textContent === 'paused'")
    assert not quiet.is_visible("text=Explore")
    assert not quiet.evaluate("document.querySelector('input[name=kimg]').required")
    shutil.copy(root / "cats" / "generator.safetensors", run.generator)
    run.save_recipe(run.recipe().but(kimg=length))
    until(quiet, "document.querySelector('.status').textContent === 'finished'")
    assert quiet.is_visible("text=Explore")
    assert quiet.evaluate("document.querySelector('input[name=kimg]').required")
    assert quiet.get_attribute("input[name=kimg]", "min") == "0.048"
    quiet.focus(".finding button")
    told["words"] = "as another"
    quiet.clock.fast_forward(21_000)
    until(quiet, "document.querySelector('.finding p').textContent === 'as another'", 20)
    assert quiet.evaluate("document.activeElement.textContent") == "Train anew with"
    told["words"] = "refused"
    quiet.clock.fast_forward(21_000)
    until(quiet, "document.querySelector('.health').textContent === 'The doctor is out.'", 20)
    quiet.clock.fast_forward(2500)  # the other loop, which is answered, takes nothing of it away
    quiet.wait_for_timeout(500)
    assert quiet.locator(".note.bad:visible").all_text_contents() == ["The doctor is out."]
    run.folder.rename(root / "gone")
    quiet.clock.fast_forward(2500)
    quiet.wait_for_selector(".refusal:has-text('There is no run called young')")
    (root / "gone").rename(run.folder)
    quiet.clock.fast_forward(2500)
    quiet.wait_for_selector(".refusal", state="hidden")
    shutil.rmtree(run.folder)


def test_long_names_fit_into_narrow_windows(studio, page):
    address, root = studio
    name = "portraits_of_everybody_" * 5 + "end"
    shutil.copytree(root / "cats", root / name)
    page.route("**/static/plotly.js", without_curves)
    try:
        for place in (f"/watch?run=cats&beside={name}", "/train"):
            page.goto(address + place)
            if place == "/train":
                page.set_input_files("#files", {"name": f"{name}.png", "mimeType": "image/png", "buffer": b"x"})
            for width in (390, 320):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (place, width)
    finally:
        shutil.rmtree(root / name)


def test_who_comes_back_finds_what_was_chosen(studio, page, tmp_path: Path):
    address, _root = studio
    content, style = lay_out(tmp_path)
    page.goto(f"{address}/paint?recipe=instant")
    first = page.text_content(".chosen >> nth=0")
    page.set_input_files("#content-file", str(content))
    page.set_input_files("#style-files", str(style))
    page.wait_for_selector("canvas.mask:visible")
    page.goto(f"{address}/train")
    page.go_back()
    until(page, "document.querySelector('#content-file')?.files.length === 1")
    page.wait_for_selector("canvas.mask:visible")
    assert page.text_content(".chosen >> nth=0") == content.name
    until(page, "document.querySelector('#mask-of').options.length === 1")
    page.route("**/paint/start", lambda route: route.fulfill(status=204))  # the page stays as a browser keeps it
    page.click("#mask-all")
    page.click("#paint button:has-text('Paint') >> nth=0")
    until(page, "document.querySelector('#mask-files input')?.files.length === 1")
    until(page, "document.querySelector('#paint').dataset.ready === 'yes'")
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    page.click("#mask-none")
    with page.expect_request("**/paint/start"):
        page.click("#paint button:has-text('Paint') >> nth=0")
    assert page.evaluate("document.querySelector('#mask-files').children.length") == 0
    page.set_input_files("#content-file", [])
    assert page.text_content(".chosen >> nth=0") == first
    assert not page.is_visible("canvas.mask")


def test_a_class_that_the_browser_has_kept_is_the_one_that_is_shown(studio, page):
    address, _root = studio
    held = []
    page.route("**/static/explore.js", lambda route: held.append(route))

    def with_a_choice(route) -> None:
        answer = route.fetch()
        choice = '<select name="spare"><option value="a">a</option><option value="b">b</option></select>'
        form = re.sub('(<form id="wish".*?>)', rf"\1{choice}", answer.text(), flags=re.S)
        route.fulfill(response=answer, body=form)

    page.route("**/explore?run=cats", with_a_choice)
    page.goto(f"{address}/explore?run=cats", wait_until="commit")
    page.select_option("select[name=spare]", "b")
    while not held:
        page.wait_for_timeout(50)
    held[0].continue_()
    until(page, "document.querySelector('#picture').dataset.milliseconds", 60)
    assert "spare=b" in page.get_attribute("#keep", "href")
