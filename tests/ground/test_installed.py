"""The wheel, installed where there is no repository, does what it should."""

import site
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hasama.version import __version__
from released import ROOT, Installed, build


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def beside(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel alone in an environment that borrows all other packages from the one that runs the tests."""
    made = Installed(tmp_path_factory.mktemp("beside"))
    venv.create(made.environment, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(made.python)]
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel)]
    subprocess.run([*pip, *install], check=True, timeout=120)
    (packages,) = made.environment.glob("lib/python3*/site-packages")
    # Folders that a .pth names are searched last, and .pth files in them are not read: no editable Hasama is seen.
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    return made


def check(installed: Installed) -> None:
    """Where it is, and what people do first."""
    code = "import hasama, os; print(hasama.__file__, os.getcwd(), hasama.__version__)"
    file, place, version = installed.run("python", "-c", code).split()
    assert Path(file).is_relative_to(installed.environment)
    assert not Path(place).is_relative_to(ROOT)
    assert version == __version__

    installed.run("hasama", "train", "digits", "demo", "--kimg", "1", "--out", "run")
    assert (installed.place / "run/generator.safetensors").is_file()
    assert (installed.place / "run/loss.png").is_file()

    installed.run("hasama", "sample", "portraits", "--count", "4", "--out", "portraits.png")
    with Image.open(installed.place / "portraits.png") as grid:
        assert np.asarray(grid).std() > 20  # faces

    rng = np.random.default_rng(0)
    for name in ("photo", "painting"):
        pixels = rng.integers(0, 255, (6, 6, 3), np.uint8)
        Image.fromarray(pixels).resize((48, 48)).save(installed.place / f"{name}.png")
    installed.run(
        "hasama", "style", "photo.png", "painting.png", "--recipe", "instant", "--size", "64", "--out", "out.png"
    )
    with Image.open(installed.place / "out.png") as painted:
        assert max(painted.size) == 64


def test_what_people_do_first_works_without_the_repository(beside: Installed):
    check(beside)


def test_what_is_no_python_is_found_too(beside: Installed):
    """The enlarger's weights, the studio's pages and texts, the digits."""
    code = """
import importlib.resources as resources
from hasama.networks import enlarger
from hasama.perception import inverse
from hasama.pictures.sources.digits import digits
from hasama.studio.words import lessons, texts
assert enlarger.WEIGHTS.is_file() and inverse.WEIGHTS.is_file()
assert lessons("sw") and texts("en")
print(len(list((resources.files("hasama") / "studio/templates").iterdir())), len(digits().entries))
"""
    templates, entries = map(int, beside.run("python", "-c", code).split())
    assert templates == len(list((ROOT / "src/hasama/studio/templates").iterdir()))
    assert entries > 1000


def test_metadata_of_the_installed_package_are_the_wheel_s(beside: Installed):
    code = """
from importlib.metadata import files, version
print(version("hasama"), sum(file.name == "NOTICE.md" for file in files("hasama")))
"""
    assert beside.run("python", "-c", code).split() == [__version__, "2"]  # in the package, and among the licences


@pytest.mark.slow
def test_a_fresh_environment_gets_all_that_it_needs_from_the_index(wheel: Path, tmp_path: Path):
    installed = Installed(tmp_path)
    venv.create(installed.environment, symlinks=True, with_pip=True)
    pip = ["python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    installed.run(*pip, "-c", ROOT / "constraints.txt", wheel, seconds=1800)
    assert installed.run("python", "-m", "pip", "check").startswith("No broken requirements")
    check(installed)
