"""`instant` as an ONNX file: onnxruntime paints any size as we paint it; the network is ours without eigenvalues."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from easel import hasama_here, style_scene
from hasama.perception.vgg_weights import load_weights
from hasama.sharing import onnx_export
from hasama.sharing.instant_onnx import MOST_PATCHES
from hasama.style import instant
from hasama.style.canvas.pictures import from_pixels, read_picture
from hasama.style.instant import paint_at_once
from hasama.style.instant_network import instant_network
from hasama.style.painting import plan
from hasama.style.recipe import STYLE_RECIPES
from hasama.style.subject import Style, Subject, content_image
from odd_files import scene

SIZE, CANVAS = 64, (48, 64)
SIDE = 256
"""Of a window. A photo's own would be smaller, and some patches of the painting lost where two windows meet."""
NEAR = 2e-3
"""In the mean, of a range of 2: another patch may be chosen here and there. Another style is 0.3 away."""
NEAR_OF_NOTHING = 2e-2
"""The same, where all of a photo is alike: each place chooses the same patch, and so all choose another one."""


def photo(name: str, width: int, height: int) -> Image.Image:
    if name == "flat":
        return Image.new("RGB", (width, height), (128, 128, 128))
    coloured = scene(max(1, width // 8), max(1, height // 8), seed=1).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return coloured.convert("L").convert("RGB") if name == "grey" else coloured


def subject_of(picture: Image.Image, styles: list[Style], strength: float = 1.0) -> Subject:
    recipe = STYLE_RECIPES["instant"].but(size=max(picture.size), strength=strength, precision="fp32")
    return plan(from_pixels(np.array(picture)), styles, recipe)._replace(side=SIDE)


def ours(subject: Subject) -> np.ndarray:
    *_, last = paint_at_once(subject)
    return last.image.numpy()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one file that most tests look at: following the network through torch takes seconds."""
    folder = tmp_path_factory.mktemp("instant")
    style_scene(90, 70).save(folder / "starry.png")
    out = folder / "new" / "painter.onnx"
    done = hasama_here(
        *("export", folder / "starry.png", "--recipe", "instant", "--size", SIZE, "--strength", 0.8, "--out", out)
    )
    assert done.returncode == 0, done.stderr
    assert "photos of any size" in done.stdout
    assert [path.name for path in out.parent.iterdir()] == ["painter.onnx"]
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "width", "height"),
    [
        *(("coloured", 64, 48), ("coloured", 61, 43), ("coloured", 8, 9), ("coloured", 200, 30)),
        *(("grey", 64, 48), ("flat", 50, 66)),
    ],
)
def test_onnxruntime_paints_what_we_paint(
    exported: Path, name: str, width: int, height: int, monkeypatch: pytest.MonkeyPatch
):
    learn = instant.learnt
    monkeypatch.setattr(instant, "learnt", lambda subject, style, _h, _w, at: learn(subject, style, *CANVAS, at))
    style = Style(read_picture(exported.parents[1] / "starry.png"))
    subject = subject_of(photo(name, width, height), [style], 0.8)
    given = content_image(subject, height, width).numpy()
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    (made,) = session.run(["paintings"], {"photos": given})
    made = np.asarray(made)
    assert made.shape == (1, 3, height, width)
    assert np.abs(made).max() <= 1
    assert np.abs(made - ours(subject)).mean() < (NEAR_OF_NOTHING if name == "flat" else NEAR)
    assert np.abs(made - given).mean() > 0.1


@pytest.mark.slow
def test_the_file_says_what_it_is(exported: Path):
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    assert [(one.name, one.shape) for one in session.get_inputs()] == [("photos", [1, 3, "height", "width"])]
    assert [(one.name, one.shape) for one in session.get_outputs()] == [("paintings", [1, 3, "height", "width"])]
    about = json.loads(session.get_modelmeta().custom_metadata_map["hasama-painter"])
    assert (about["recipe"], about["size"], about["strength"]) == ("instant", SIZE, 0.8)
    assert about["styles"] == ["starry"]
    for private in (Path(torch.__file__).parents[1], Path(instant.__file__).parents[1], exported.parents[1]):
        assert str(private).encode() not in exported.read_bytes()


def test_several_paintings_are_mixed_as_we_mix_them():
    styles = [
        Style(from_pixels(np.asarray(style_scene()))),
        Style(from_pixels(np.asarray(style_scene(seed=3).rotate(90).convert("L").convert("RGB"))), 2.0),
    ]
    subject = subject_of(photo("coloured", 64, 48), styles)
    network = instant_network(subject, load_weights(), MOST_PATCHES)
    made = network(content_image(subject, 48, 64)).numpy()
    assert np.abs(made - ours(subject)).mean() < NEAR
    assert np.abs(made - ours(subject_of(photo("coloured", 64, 48), styles[:1]))).mean() > 0.05


@pytest.mark.parametrize("smallest", [32, 40])
def test_what_is_painted_small_first_is_so_here(smallest: int):
    styles = [Style(from_pixels(np.asarray(style_scene(90, 70))))]
    once = subject_of(photo("coloured", 64, 48), styles)
    twice = once._replace(recipe=once.recipe.but(smallest=smallest))
    assert len(twice.sizes()) == 2
    made = instant_network(twice, load_weights(), MOST_PATCHES)(content_image(twice, 48, 64)).numpy()
    assert np.abs(made - ours(twice)).mean() < NEAR
    assert np.abs(made - ours(once)).mean() > 0.05


@pytest.mark.slow
def test_onnxruntime_paints_small_first(tmp_path: Path):
    style_scene(90, 70).save(tmp_path / "starry.png")
    words = ("export", tmp_path / "starry.png", "--recipe", "instant", "--size", 512, "--patches", 50)
    done = hasama_here(*words, "--out", tmp_path / "painter.onnx")
    assert done.returncode == 0, done.stderr  # which compares them
    session = onnxruntime.InferenceSession(str(tmp_path / "painter.onnx"), providers=["CPUExecutionProvider"])
    for height, width in ((48, 64), (33, 70), (8, 8)):
        given = np.random.default_rng(0).uniform(-1, 1, (1, 3, height, width)).astype(np.float32)
        (made,) = session.run(["paintings"], {"photos": given})
        assert np.asarray(made).shape == given.shape
        assert np.isfinite(np.asarray(made)).all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (200, 40, 90)])
def test_a_painting_of_one_colour(colour: tuple[int, int, int]):
    subject = subject_of(photo("coloured", 64, 48), [Style(from_pixels(np.full((40, 40, 3), colour, np.uint8)))])
    made = instant_network(subject, load_weights(), MOST_PATCHES)(content_image(subject, 48, 64)).numpy()
    assert np.abs(made - ours(subject)).mean() < NEAR


def test_fewer_patches_are_a_smaller_network(monkeypatch: pytest.MonkeyPatch):
    subject = subject_of(photo("coloured", 64, 48), [Style(from_pixels(np.asarray(style_scene(90, 70))))])
    given = content_image(subject, 48, 64)
    whole, few, none = (instant_network(subject, load_weights(), most) for most in (MOST_PATCHES, 20, 0))
    assert few.state_dict()["patches_0"].shape[0] == 20 < whole.state_dict()["patches_0"].shape[0]
    assert not hasattr(none, "patches_0")
    monkeypatch.setattr(instant._Scale, "patches_of", lambda self, place: None)
    assert np.abs(none(given).numpy() - ours(subject)).mean() < NEAR
    assert torch.dist(few(given), whole(given)) > 1


def test_what_cannot_be_exported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    painting, text = tmp_path / "a.png", tmp_path / "b.txt"
    style_scene().save(painting)
    text.write_text("no picture")
    (tmp_path / "folder").mkdir()
    instantly = ("--recipe", "instant")
    for words, told in (
        ((painting,), "--recipe instant"),
        ((painting, "--strength", 0.5), "--recipe instant"),
        ((tmp_path / "folder", "--mix", "1,2"), "--mix is for paintings"),
        ((tmp_path / "folder", "--size", 64), "--size is for paintings"),
        ((painting, *instantly, "--safetensors"), "ONNX alone"),
        ((painting, *instantly, "--license", "mit"), "--license is for a run's model card"),
        ((tmp_path / "folder", *instantly), "is for pictures of paintings"),
        ((tmp_path / "none.png", *instantly), "There is no picture at"),
        ((text, *instantly), "not a picture"),
        ((painting, *instantly, "--out", tmp_path / "x.png"), "ends in .onnx"),
        ((painting, painting, *instantly, "--mix", "1"), "--mix takes a positive number for each of the 2"),
        ((painting, *instantly, "--size", 2000), "--size takes 64 to 512"),
        ((painting, *instantly, "--patches", 5000), "--patches takes 0 to 512"),
        ((painting, *instantly, "--strength", 2), "--strength"),
    ):
        done = hasama_here("export", *words)
        assert done.returncode == 2, (words, done.stderr)
        assert told in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr
    found = onnx_export.find_spec
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    done = hasama_here("export", painting, *instantly)
    assert done.returncode == 2
    assert "pip install 'hasama[onnx]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("*.onnx"))
