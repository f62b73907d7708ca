"""`instant`: a style at once. Tiles are the whole, masks and strength hold, films share their maps."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from easel import hasama_here, lay_out, pixels_of, style_scene
from hasama.errors import HasamaError
from hasama.perception.inverse import LEVELS, REACH, WEIGHTS, Inverse, Replicated, load_inverse
from hasama.perception.vgg import VGG, stride_of
from hasama.perception.vgg_weights import load_weights
from hasama.style.canvas.pictures import from_pixels, read_picture
from hasama.style.finish import finished
from hasama.style.instant import _before, _Scale, learn_for_all, learnt_styles, paint_at_once
from hasama.style.jobs.film import paint_film
from hasama.style.jobs.painting_file import Job, StyleSource, paint_file
from hasama.style.methods.moments import moments
from hasama.style.methods.swapping import SWAPPINGS
from hasama.style.painting import Machine, plan, stylize
from hasama.style.recipe import STYLE_RECIPES, StyleRecipe
from hasama.style.subject import Style, Subject, content_image
from odd_files import scene

INSTANT = STYLE_RECIPES["instant"]
QUICK = ["--recipe", "instant", "--size", "64", "--threads", "1"]


def subject_of(width: int = 64, height: int = 48, styles: int = 1, **changes: object) -> Subject:
    content = from_pixels(smooth(width, height))
    ready = [Style(from_pixels(np.asarray(style_scene(seed=2 + k).rotate(90 * k))), 1.0 + k) for k in range(styles)]
    return plan(content, ready, INSTANT.but(size=max(width, height), **changes))


def smooth(width: int, height: int, seed: int = 1) -> np.ndarray:
    """A picture without noise: uint8 [height, width, 3]."""
    small = scene(max(1, width // 8), max(1, height // 8), seed=seed)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).copy()


def painted(subject: Subject) -> torch.Tensor:
    *_, last = paint_at_once(subject)
    return last.image


# --- VGG19 turned round ---------------------------------------------------------------------------


def test_what_ships_is_small():
    assert WEIGHTS.stat().st_size < 8e6
    assert all(tensor.dtype == torch.float16 for tensor in load_file(WEIGHTS).values())


def test_a_picture_comes_back_from_its_features():
    """The coarser the level, the less; but always far more than a guess."""
    image = torch.tensor(smooth(96, 64, 5)).permute(2, 0, 1)[None].float() / 127.5 - 1
    features, inverse = VGG(load_weights(), LEVELS)(image), load_inverse()
    errors = [float((inverse.picture(features[level], level) - image).square().mean()) for level in LEVELS]
    guess = float(image.var())
    assert errors[0] < 0.5 * guess
    assert errors[-1] < 0.03 * guess
    assert errors[-1] < errors[-2] < errors[0]


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_becomes_the_next(level: str):
    channels = {"relu4_1": 512, "relu3_1": 256, "relu2_1": 128, "relu1_1": 64}
    made = load_inverse()(torch.rand(2, channels[level], 5, 3), level)
    assert made.shape == ((2, 3, 5, 3) if level == "relu1_1" else (2, channels[level] // 2, 10, 6))


@pytest.mark.parametrize("styles", [1, 2])
def test_in_bfloat16_it_is_the_same_picture(styles: int):
    """Such arithmetic is chosen by itself where a processor has it."""
    subjects = [subject_of(styles=styles, precision=name) for name in ("fp32", "bf16")]
    fine, coarse = (painted(subject) for subject in subjects)
    assert coarse.dtype == torch.float32
    assert float((fine - coarse).abs().mean()) < 0.05  # of 2; another style is 0.3 away
    assert (fine != coarse).any()


@pytest.mark.parametrize("level", LEVELS)
def test_a_pixel_depends_on_what_is_within_reach(level: str):
    torch.manual_seed(0)
    inverse, stride = Inverse().double().train(), stride_of(level)
    maps = torch.randn(1, 64 * stride, 192 // stride, 32 // stride, dtype=torch.float64, requires_grad=True)
    picture = inverse.picture(maps, level)
    found = []
    for place in range(96, 96 + stride):
        maps.grad = None
        picture[:, :, place, 16].sum().backward(retain_graph=True)
        assert maps.grad is not None
        rows = torch.nonzero(maps.grad.abs().sum((0, 1, 3))).flatten() * stride
        found += [place - int(rows[0]), int(rows[-1]) + stride - 1 - place]
    assert REACH[level] - stride <= max(found) <= REACH[level] + stride - 1


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (2, 3), (7, 4)])
def test_an_edge_is_repeated_as_torch_repeats_it(size: tuple[int, int]):
    torch.manual_seed(0)
    ours = Replicated(3, 5, 3, padding=1, padding_mode="replicate").double()
    maps = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        around = torch.nn.functional.pad(maps, (1, 1, 1, 1), mode="replicate")
        torch.testing.assert_close(ours(maps), torch.nn.functional.conv2d(around, ours.weight, ours.bias))


def test_a_damaged_file_is_told(tmp_path: Path):
    (tmp_path / "broken.safetensors").write_bytes(WEIGHTS.read_bytes()[:5000])
    with pytest.raises(HasamaError, match="missing or damaged"):
        load_inverse(tmp_path / "broken.safetensors")
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(HasamaError, match="missing or damaged"):
        load_inverse(tmp_path / "other.safetensors")


# --- painting -------------------------------------------------------------------------------------


def test_the_painting_has_the_styles_colours_and_the_contents_forms():
    disc = Image.new("RGB", (96, 96), (20, 30, 60))
    ImageDraw.Draw(disc).ellipse((20, 20, 76, 76), (230, 220, 200))
    subject = subject_of(96, 96)._replace(content=from_pixels(np.asarray(disc).copy()))
    made, content = painted(subject), soft_content(subject)
    style = torch.from_numpy(np.asarray(style_scene())).permute(2, 0, 1)[None].float() / 127.5 - 1
    before = (content.mean((2, 3)) - style.mean((2, 3))).abs().max()
    assert (made.mean((2, 3)) - style.mean((2, 3))).abs().max() < 0.3 * before
    forms = torch.corrcoef(torch.cat([made[0].flatten(1), content[0].flatten(1)]))[:3, 3:]
    assert forms.abs().max() > 0.4


def soft_content(subject: Subject) -> torch.Tensor:
    return torch.from_numpy(subject.content.pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


def test_in_tiles_it_is_the_same_picture():
    subject = subject_of(360, 250, smallest=200, precision="fp32")  # bfloat16 rounds each tile for itself
    assert len(subject.sizes()) == 2
    whole, tiles = painted(subject), subject._replace(side=216)
    assert len(tiles.tiles(250, 360)) > 1
    maps = learn_for_all(subject, [subject.content])
    torch.testing.assert_close(painted(tiles._replace(maps=maps)), whole, atol=1e-4, rtol=0)
    # Moments are summed in another order: of two patches nearly alike the other one is chosen here and there.
    assert (painted(tiles) - whole).abs().mean() < 2e-3


def test_a_style_gives_the_same_patches_however_it_is_cut_up():
    picture = from_pixels(smooth(300, 200, seed=5))
    mask = torch.zeros(200, 300)
    mask[40:170, 30:290] = 1
    for where in (None, mask):
        subject = subject_of(precision="fp32")._replace(styles=[Style(picture, mask=where)])
        cut = subject._replace(side=160)
        one, other = (learnt_styles(each)[1] for each in (subject, cut))
        assert one is not None
        assert other is not None
        assert 300 < len(one.values) <= SWAPPINGS["relu2_1"].most
        torch.testing.assert_close(other.values, one.values, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (61, 43), (40, 1), (1, 9), (1, 1)])
def test_any_size_is_painted(width: int, height: int):
    made = painted(subject_of(width, height))
    assert made.shape == (1, 3, height, width)
    assert made.isfinite().all()
    assert made.abs().max() <= 1


@pytest.mark.parametrize("colour", [(0, 0, 0), (200, 40, 90)])
def test_a_style_of_one_colour_makes_a_picture_of_about_that_colour(colour: tuple[int, int, int]):
    content = from_pixels(np.asarray(scene(64, 48, seed=1)))
    flat = from_pixels(np.full((40, 40, 3), colour, np.uint8))
    made = painted(plan(content, [Style(flat)], INSTANT.but(size=64)))
    wanted = torch.tensor(colour).view(1, 3, 1, 1) / 127.5 - 1
    assert (made - wanted).abs().mean() < 0.25


def test_strength_goes_from_the_photo_to_the_painting():
    content = soft_content(subject_of())
    far = [float((painted(subject_of(strength=s)) - content).abs().mean()) for s in (0.0, 0.5, 1.0)]
    assert far[0] < far[1] < far[2]
    assert far[0] < 0.4 * far[2]


def test_several_styles_count_by_their_weights():
    subject = subject_of(styles=2)
    one, other = ([subject.styles[k]] for k in (0, 1))
    both, first, second = (painted(subject._replace(styles=styles)) for styles in (subject.styles, one, other))
    assert (both - second).abs().mean() < (both - first).abs().mean()  # it weighs twice as much
    assert (both - second).abs().mean() > 0.01


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_strength_it_is_the_photo(precision: str):
    subject = subject_of(strength=0.0, smallest=32, precision=precision)
    photo = content_image(subject, 48, 64)
    assert (painted(subject) - photo).abs().max() < 0.01
    weak, strong = ((painted(subject_of(strength=much, smallest=32)) - photo).abs().mean() for much in (0.05, 1.0))
    assert weak < 0.4 * strong  # each of six rounds goes so much of the way that is left


def test_nor_are_its_colours_moved_without_strength():
    still = subject_of(strength=0.0, colours="matched")
    there = torch.from_numpy(finished(still, painted(still), False).pixels.astype(int))
    assert (there - torch.from_numpy(still.content.pixels.astype(int))).abs().max() <= 1


def test_what_was_swapped_gets_the_styles_moments_again():
    subject = subject_of(smallest=64)
    work = _Scale(subject, [_before(subject, None, 48, 64)], 0)
    before, level = work.images[0], "relu2_1"
    assert len(list(work.steps())) == work.count
    aim, (tile,) = work.styles[0][0].moments[level], work.tiles(level)
    distances = []
    for rounds in (0, 1, 2):
        work.moves[level], moves = work.moves[level][:rounds], work.moves[level]
        found, work.kept, work.moves[level] = moments(work.seen(before, tile, level)), None, moves
        distances.append(float((found.mean - aim.mean).norm() + (found.covariance - aim.covariance).norm()))
    assert len(work.moves[level]) == 2
    assert distances[2] < 0.8 * distances[1] < 0.8 * distances[0]


def test_masks_say_where():
    subject = subject_of()
    where = torch.zeros(48, 64)
    where[:, 32:] = 1
    half = subject._replace(styles=[subject.styles[0]._replace(where=where)])
    content, made = soft_content(subject), painted(half)
    *_, frame = stylize(subject.content, half.styles, subject.recipe)
    kept = np.asarray(frame.picture).astype(int) - subject.content.pixels
    assert np.abs(kept[:, :24]).max() <= 1  # where no style goes the photo is untouched
    assert np.abs(kept[:, 40:]).mean() > 5
    assert (made - content)[..., :16].abs().mean() < 0.7 * (made - content)[..., 48:].abs().mean()


def test_overlapping_masks_share_a_place():
    """The same style twice, in two masks that overlap, is the style itself."""
    subject = subject_of()
    halves = [torch.ones(48, 64), torch.ones(48, 64)]
    halves[0][:, 40:], halves[1][:, :24] = 0, 0
    masked = subject._replace(styles=[subject.styles[0]._replace(where=half) for half in halves])
    assert (painted(masked) - painted(subject)).abs().mean() < 0.15
    whole = subject._replace(styles=[subject.styles[0]._replace(where=torch.ones(48, 64))] * 2)
    torch.testing.assert_close(painted(whole), painted(subject), atol=0.02, rtol=0)


@pytest.mark.parametrize("layers", ["relu4_1,relu3_1,relu2_1,relu1_1", "relu1_1", "relu4_1", "relu3_1"])
def test_levels_may_be_chosen(layers: str):
    made = painted(subject_of(style_layers=layers, smallest=32))
    assert made.shape == (1, 3, 48, 64)
    assert (made - painted(subject_of(smallest=32))).abs().mean() > 0.01


def test_patches_come_only_from_where_a_style_is_learnt_from():
    """A style whose left half is green and whose right half is red: learnt from the right, nothing becomes green."""
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:, :32, 1], halves[:, 32:, 0] = 200, 200
    halves += np.random.default_rng(0).integers(0, 50, halves.shape, np.uint8)
    content = from_pixels(np.asarray(scene(64, 48, seed=1)))
    right = torch.zeros(64, 64)
    right[:, 40:] = 1
    made = painted(plan(content, [Style(from_pixels(halves), mask=right)], INSTANT.but(size=64)))
    assert (made[:, 1] > made[:, 0] + 0.3).float().mean() < 0.05


def test_a_grey_style_makes_a_grey_painting():
    content = from_pixels(np.asarray(scene(64, 48, seed=1)))
    grey = from_pixels(np.asarray(style_scene().convert("L").convert("RGB")))
    made = painted(plan(content, [Style(grey)], INSTANT.but(size=64)))
    assert (made.amax(1) - made.amin(1)).mean() < 0.2


def test_other_weights_and_what_means_nothing_are_refused(tmp_path: Path):
    content, style = lay_out(tmp_path)
    weights = {}
    network = load_weights()
    for number, place in enumerate(network.convolutions):
        weights[f"features.{number}.weight"], weights[f"features.{number}.bias"] = network.convolutions[place]
    for flags, told in (
        (["--content-weight", "1"], "--content-weight means nothing with --recipe instant; see --strength"),
        (["--iterations", "5"], "--iterations means nothing"),
        (["--strength", "2"], "--strength"),
        (["--start", "noise"], "needs --start instant"),
        (["--style-layers", "relu2_2"], "--style-layers are some of"),
    ):
        run = hasama_here("style", content, style, *QUICK, *flags, "--out", tmp_path / "x.png")
        assert run.returncode == 2
        assert told in run.stderr
    run = hasama_here("style", content, style, "--strength", "0.5", "--out", tmp_path / "x.png")
    assert (run.returncode, "--strength is for --recipe instant" in run.stderr) == (2, True)
    assert not (tmp_path / "x.png").exists()


def test_weights_of_another_network_are_refused(monkeypatch: pytest.MonkeyPatch):
    from hasama.style import painting

    foreign = load_weights()._replace(std=(0.229, 0.224, 0.225))
    monkeypatch.setattr(painting, "load_weights", lambda path=None: foreign)
    with pytest.raises(HasamaError, match="Leave them away"):
        subject_of()


# --- as a command ---------------------------------------------------------------------------------


def test_the_command_paints_and_reports(tmp_path: Path):
    content, style = lay_out(tmp_path)
    run = hasama_here("style", content, style, *QUICK, "--out", tmp_path / "out.png")
    assert run.returncode == 0, run.stderr
    report = json.loads((tmp_path / "out.png.json").read_text())
    assert report["size"] == [64, 43]
    assert report["recipe"]["optimizer"] == "none"
    assert pixels_of(tmp_path / "out.png").shape == (43, 64, 3)
    again = hasama_here("style", content, style, *QUICK, "--out", tmp_path / "out.png")
    assert "already painted" in again.stdout


def test_alpha_and_sixteen_bits_are_kept(tmp_path: Path):
    content, style = lay_out(tmp_path)
    picture = Image.open(content).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(tmp_path / "alpha.png")
    run = hasama_here(*("style", tmp_path / "alpha.png", style, *QUICK, "--depth", "16", "--out", tmp_path / "a.png"))
    assert run.returncode == 0, run.stderr
    made = read_picture(tmp_path / "a.png")
    assert made.is_deep
    assert made.alpha is not None
    before = np.asarray(picture.resize((64, 43)))[..., 3] / 255
    assert np.abs(made.alpha / np.iinfo(made.alpha.dtype).max - before).max() < 0.03


def test_stopped_between_scales_it_goes_on_to_the_same_picture(tmp_path: Path):
    content, style = tmp_path / "c.png", tmp_path / "s.png"
    scene(96, 64, seed=1).save(content)
    style_scene().save(style)
    recipe = INSTANT.but(size=96, smallest=48)
    whole = Job(content, (StyleSource(style),), tmp_path / "whole.png", recipe)
    cut = whole._replace(out=tmp_path / "cut.png")
    frames = list(paint_file(whole))
    for stop_after in (2, len(frames) - 3):  # within the first scale, within the last
        left = iter([False] * stop_after)
        list(paint_file(cut, lambda left=left: not next(left, False) and next(left, True) is True))
        assert cut.part.exists() or cut.out.exists()
    list(paint_file(cut))
    np.testing.assert_array_equal(pixels_of(cut.out), pixels_of(whole.out))


@pytest.mark.slow
def test_a_start_can_be_on_its_way_to_noise(tmp_path: Path):
    content, style = tmp_path / "c.png", tmp_path / "s.png"
    scene(48, 32, seed=1).save(content)
    style_scene().save(style)
    recipe = StyleRecipe(size=48, smallest=48, iterations=1, start="instant")
    made = []
    for share in (0.0, 1.0):
        job = Job(content, (StyleSource(style),), tmp_path / f"{share}.png", recipe.but(start_noise=share))
        list(paint_file(job))
        made.append(pixels_of(job.out).astype(int))
    assert np.abs(made[0] - made[1]).mean() > 5


def test_it_is_a_canvas_for_others_to_start_from(tmp_path: Path):
    content, style = lay_out(tmp_path)
    recipe = StyleRecipe(size=48, smallest=24, first_iterations=1, iterations=1, start="instant")
    first = next(iter(stylize(content, style, recipe)))
    plain = next(iter(stylize(content, style, dataclasses.replace(recipe, start="content"))))
    assert first.losses["style"] < 0.8 * plain.losses["style"]


# --- films ----------------------------------------------------------------------------------------


def test_pictures_of_a_film_share_their_maps(tmp_path: Path):
    """The same picture, seen twice with another between, is painted alike."""
    pictures = [scene(64, 48, seed=seed) for seed in (1, 2, 1)]
    pictures[0].save(tmp_path / "c.gif", save_all=True, append_images=pictures[1:], duration=100)
    style_scene().save(tmp_path / "s.png")
    job = Job(tmp_path / "c.gif", (StyleSource(tmp_path / "s.png"),), tmp_path / "o.gif", INSTANT.but(size=64))
    made = {step.picture: np.asarray(step.frame.picture) for step in paint_film(job)}
    np.testing.assert_array_equal(made[0], made[2])
    assert np.abs(made[0].astype(int) - made[1]).mean() > 2


def test_shared_maps_are_those_of_all_pictures():
    subject = subject_of()
    contents = [from_pixels(np.asarray(scene(64, 48, seed=seed))) for seed in (1, 7)]
    alone = [learn_for_all(subject, [content])[0].moves["relu2_1"][0][0] for content in contents]
    both = learn_for_all(subject, contents)[0].moves["relu2_1"][0][0]
    for one in alone:
        assert not torch.equal(one.shift, both.shift)
    own = painted(subject)
    shared = painted(subject._replace(maps=learn_for_all(subject, [subject.content])))
    torch.testing.assert_close(shared, own, atol=1e-3, rtol=0)


def test_memory_is_bounded(tmp_path: Path):
    content, style = lay_out(tmp_path)
    machine = Machine(memory=10**6)
    with pytest.raises(HasamaError, match="needs about"):
        list(stylize(content, style, INSTANT.but(size=64), machine))
