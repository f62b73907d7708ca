"""The page for visitors: what it makes and refuses; where there is Gradio (`make test-spaces`), the page itself."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
import types
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from PIL import Image

from hasama.runs.bases import about_base, base_names
from hasama.version import __version__
from released import ROOT

SPACES = ROOT / "spaces"
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
"""Those that a Space's header may name."""


class RefusedError(Exception):
    """In place of `gradio.Error`."""


@pytest.fixture(scope="module")
def app() -> types.ModuleType:
    """The page's functions, without Gradio."""
    stub = types.SimpleNamespace(Error=RefusedError, Blocks=object)
    spec = importlib.util.spec_from_file_location("page_for_visitors", SPACES / "app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "gradio", stub)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A photo and a painting."""
    folder, rng = tmp_path_factory.mktemp("pair"), np.random.default_rng(0)
    for name in ("photo", "painting"):
        Image.fromarray(rng.integers(0, 255, (5, 5, 3), np.uint8)).resize((40, 40)).save(folder / f"{name}.png")
    return [str(folder / "photo.png"), str(folder / "painting.png")]


def test_a_grid_is_made_of_a_seed(app: types.ModuleType):
    one, again, other = (np.asarray(app.generate("portraits", seed, 0.8, 1, 2)) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()
    assert one.shape[1] > 1.9 * one.shape[0]
    typical, various = (np.asarray(app.generate("portraits", 1, psi, 1, 2)).astype(int) for psi in (0, 1))
    differ = [np.abs(grid[:, 2:130] - grid[:, 132:260]).mean() for grid in (typical, various)]
    assert differ[0] < differ[1] / 4  # but for the grain, all are the same then


def test_what_is_asked_for_has_a_limit(app: types.ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(app, "MOST_ROWS", 2)
    assert app.generate("portraits", -5, 99, 1000, 1000).size == app.generate("portraits", 0, 2, 2, 2).size


def test_a_film_is_made(app: types.ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(app, "FILM", ".gif")
    monkeypatch.setattr(app, "FPS", 3)
    with Image.open(app.interpolate("portraits", 1, 4, 1, 0.8)) as film:
        assert getattr(film, "n_frames", 1) == 3


def test_a_photo_is_painted(app: types.ModuleType, pair: list[str]):
    painted = app.paint(*pair, 64, 1.0)
    assert painted.size == (64, 64)
    assert app.paint(*pair, 1, 1.0).size == (64, 64)


@pytest.mark.parametrize("base", ["", "../portraits", "/etc", "nothing"])
def test_no_other_place_of_the_machine_can_be_named(app: types.ModuleType, base: str):
    with pytest.raises(RefusedError, match="There is no base called"):
        app.generate(base, 1, 0.8, 1, 1)


def test_what_is_missing_or_broken_is_told(app: types.ModuleType, pair: list[str], tmp_path: Path):
    with pytest.raises(RefusedError, match="Give both"):
        app.paint(pair[0], None, 64, 1.0)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(RefusedError, match=r"broken\.png"):
        app.paint(str(broken), pair[1], 64, 1.0)


# --- what Spaces needs --------------------------------------------------------------------------------


def test_the_header_is_one_that_spaces_reads():
    text = (SPACES / "README.md").read_text(encoding="utf-8")
    told = yaml.safe_load(text.split("---\n")[1])
    assert text.startswith("---\n")
    assert (told["sdk"], told["app_file"], told["license"]) == ("gradio", "app.py", "mit")
    assert {told["colorFrom"], told["colorTo"]} <= set(COLOURS)
    assert len(told["short_description"]) <= 60
    assert told["title"]
    assert told["emoji"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (gradio,) = map(Requirement, project["optional-dependencies"]["spaces"])
    assert told["sdk_version"] in gradio.specifier
    assert told["python_version"] in project["requires-python"].replace(">=", "")
    for name in base_names():
        assert about_base(name)["licence"] in text


def test_the_requirements_ask_for_this_version():
    lines = (SPACES / "requirements.txt").read_text(encoding="utf-8").splitlines()
    (ours,) = [Requirement(line) for line in lines if not re.match(r"#|--|$", line)]
    assert ours.name == "hasama"
    assert ours.specifier.contains(__version__, prereleases=True)
    assert ours.extras == {"video"}


# --- the page itself ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page, served on a free port."""
    pytest.importorskip("gradio", reason="`make test-spaces` has Gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("served")
    variables = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder / "gradio")}
    with (folder / "said.txt").open("w", encoding="utf-8") as said:
        words = [sys.executable, str(SPACES / "app.py")]
        process = subprocess.Popen(words, cwd=folder, env=variables, stdout=said, stderr=said)
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None, (folder / "said.txt").read_text(encoding="utf-8")
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait(30)


def test_the_page_answers_programs(address: str, pair: list[str], tmp_path: Path):
    remote = pytest.importorskip("gradio_client")
    client = remote.Client(address, verbose=False, download_files=tmp_path)
    with Image.open(client.predict("portraits", 1, 0.8, 2, 3, api_name="/generate")) as grid:
        assert grid.width > grid.height
    film = client.predict("portraits", 1, 2, 1, 0.8, api_name="/interpolate")
    assert Path(film["video"] if isinstance(film, dict) else film).stat().st_size > 1000
    with Image.open(client.predict(*map(remote.handle_file, pair), 64, 1.0, api_name="/paint")) as painted:
        assert painted.size == (64, 64)
    with pytest.raises(Exception, match=r"not in the list of choices|no base called"):
        client.predict("../portraits", 1, 0.8, 1, 1, api_name="/generate")


def test_the_page_asks_nothing_of_other_hosts(address: str):
    page = urllib.request.urlopen(address, timeout=30).read().decode()
    assert "Hasama" in page
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["']https?://(?!127\.0\.0\.1|localhost)""", page)
