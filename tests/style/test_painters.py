"""Painters: networks that paint at once. Tiles are the whole, teaching resumes to the bit, odd things are refused."""

import dataclasses
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from command import Started, refused, start
from easel import hasama_here, lay_out, pixels_of, style_scene
from hasama.claims import claimed
from hasama.errors import HasamaError, LostProcessError
from hasama.perception.vgg import VGG
from hasama.runs.bases import BASES
from hasama.style.canvas.pictures import Picture
from hasama.style.methods.moments import moments
from hasama.style.painters import at_once, scenes, teach_into
from hasama.style.painters.at_once import followed, paint_at_once, side_within, statistics_of
from hasama.style.painters.painter import BORDER, REACH, Painter, mix_of
from hasama.style.painters.painter_file import load_painter, save_painter
from hasama.style.painters.painter_header import is_painter, styles_of, teaching_of
from hasama.style.painters.recipe import Padding, TeachRecipe
from hasama.style.painters.scenes import Photos, Scenes
from hasama.style.painters.teach_folder import TeachFolder
from hasama.style.painters.teach_into import _at_size, _skipped, _watched
from hasama.style.painters.teaching import School, teach
from hasama.style.painting import Machine
from narrow_vgg import narrow_weights, soft_picture
from profiles import SWAPPED

CPU = torch.device("cpu")
BRIEF = ["--crop", "32", "--batch", "2", "--width", "4", "--style-size", "32", "--threads", "1"]
LAYERS = ["--content-layers", "relu2_1", "--style-layers", "relu1_1,relu2_1"]


def painter_of(styles: int = 2, width: int = 4, seed: int = 0) -> Painter:
    """Random weights, and styles that differ."""
    torch.manual_seed(seed)
    painter = Painter(styles, width)
    for norm in painter.norms():
        torch.nn.init.normal_(norm.gain, 1, 0.3)
        torch.nn.init.normal_(norm.shift, 0, 0.3)
    return painter.requires_grad_(False).eval()


def painted(painter: Painter, photo: torch.Tensor, mix: torch.Tensor, **more) -> torch.Tensor:
    *_, last = paint_at_once(painter, photo, mix, **more)
    assert last.picture is not None
    return last.picture


# --- the network ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 47), (8, 1), (1, 1), (100, 5)])
def test_a_painting_is_as_large_as_the_photo(height: int, width: int):
    made = painter_of()(soft_picture(height, width), mix_of([1, 2]))
    assert made.shape == (1, 3, height, width)
    assert made.abs().max() <= 1


def test_a_normalised_map_has_the_styles_mean_and_spread():
    norm = painter_of().norms()[0]
    channels = norm.gain.shape[1]
    maps = 5 * torch.randn(2, channels, 20, 30) + 3
    mix = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    found = norm(maps, mix)
    for number, share in enumerate(mix):
        torch.testing.assert_close(found[number].mean((1, 2)), share @ norm.shift, atol=1e-4, rtol=0)
        spread = found[number].std((1, 2), correction=0)
        torch.testing.assert_close(spread, (share @ norm.gain).abs(), atol=1e-3, rtol=0)


def test_the_mix_goes_by_the_weights_and_the_strength():
    torch.testing.assert_close(mix_of([1, 3]), torch.tensor([[0.0, 0.25, 0.75]]))
    torch.testing.assert_close(mix_of([2], 0.4), torch.tensor([[0.6, 0.4]]))
    painter, photo = painter_of(), soft_picture(40, 40)
    one, other, both = (painter(photo, mix_of(weights)) for weights in ([1, 0], [0, 1], [1, 1]))
    assert (one - other).abs().mean() > 0.01
    assert (both - one).abs().mean() > 1e-3


def test_what_a_pixel_depends_on_is_within_reach():
    painter, side = painter_of(), 2 * REACH + 64
    photo = soft_picture(side, side)
    statistics = statistics_of(painter, photo, mix_of([1, 1]))
    with painter.with_statistics(statistics):
        leaf = photo.clone().requires_grad_()
        painter.inside(leaf, mix_of([1, 1]))[0, :, side // 2, side // 2].sum().backward()
    assert leaf.grad is not None
    rows, columns = (leaf.grad.abs().sum((0, 1, dim)).nonzero().flatten() for dim in (3, 2))
    for seen in (rows, columns):
        assert side // 2 - int(seen.min()) <= REACH
        assert int(seen.max()) - side // 2 <= REACH
        assert int(seen.max()) - side // 2 > REACH // 2  # and no more than that is wasted


def test_an_edge_is_not_seen():
    """One colour is painted as one colour; with zeros beyond the edges there is a frame."""
    mix, flat = mix_of([1, 2]), torch.full((1, 3, 64, 64), 0.3)
    for padding in get_args(Padding):
        torch.manual_seed(0)
        painter = Painter(2, 4, padding).requires_grad_(False).eval()
        with painter.with_statistics(statistics_of(painter, soft_picture(64, 64), mix)):
            made = painter(flat, mix)
        assert ((made.amax((2, 3)) - made.amin((2, 3))).max() < 1e-4) == (padding == "replicate")


# --- any size -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(200, 300), (333, 150), (65, 401)])
def test_tiles_are_the_whole(height: int, width: int):
    painter, mix, photo = painter_of(), mix_of([1, 2], 0.8), soft_picture(height, width)
    statistics = statistics_of(painter, photo, mix)
    whole = painted(painter, photo, mix, side=1000, statistics=statistics)
    cut = painted(painter, photo, mix, side=64, statistics=statistics)
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=0)
    *_, last = paint_at_once(painter, photo, mix, side=64)
    assert last.total > 4


def test_a_picture_in_one_piece_has_its_own_statistics():
    painter, mix, photo = painter_of(), mix_of([1, 2]), soft_picture(70, 90)
    whole = painter(photo, mix)
    assert torch.equal(painted(painter, photo, mix), whole)
    assert all(norm.fixed is None for norm in painter.norms())
    torch.testing.assert_close(painted(painter, photo, mix, side=64), whole, atol=1e-4, rtol=0)  # in tiles, too


def test_statistics_of_a_large_picture_are_about_its_own():
    painter, mix = painter_of(), mix_of([1, 2])
    photo = torch.nn.functional.interpolate(soft_picture(24, 32), scale_factor=16, mode="bicubic").clamp(-1, 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(at_once, "SIDE", 256)
        patched.setattr(at_once, "LOOK", 256)
        whole, cut = painter(photo, mix), painted(painter, photo, mix, side=256)
    assert 0 < (whole - cut).abs().mean() < 0.4 * (whole - whole.mean()).abs().mean()


def test_at_no_strength_the_photo_stays_as_it_is():
    painter, photo = painter_of(), soft_picture(40, 50)
    assert torch.equal(painted(painter, photo, mix_of([1, 2], 0.0)), photo)
    assert torch.equal(at_once.Following(painter, mix_of([1, 2], 0.0)).paint(photo), photo)
    assert not torch.equal(painted(painter, photo, mix_of([1, 2], 0.1)), photo)


def test_a_films_statistics_follow_slowly():
    one, two = ([(torch.full((1, 2, 1, 1), value), torch.ones(1, 2, 1, 1))] for value in (0.0, 1.0))
    assert followed(None, one) is one
    assert float(followed(one, two)[0][0].mean()) == pytest.approx(1 - at_once.FOLLOWING)


def test_a_painting_is_the_same_with_little_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(at_once, "SIDE", 128)
    monkeypatch.setattr(at_once, "LOOK", 96)
    painter, mix, photo = painter_of(), mix_of([1, 2]), soft_picture(300, 400)
    much, little = (painted(painter, photo, mix, side=side) for side in (128, 64))
    torch.testing.assert_close(little, much, atol=1e-4, rtol=0)


def test_less_memory_makes_smaller_tiles_and_is_refused_where_those_do_not_fit():
    painter, large, taken = painter_of(width=32), (3000, 4000), 500_000_000
    sides = [side_within(painter, *large, budget, taken) for budget in (1_400_000_000, 1_500_000_000, 10**11)]
    assert sides == sorted(set(sides))
    assert sides[-1] == at_once.SIDE
    assert side_within(painter, 200, 300, taken + 30_000_000, taken) == at_once.SIDE  # in one piece
    with pytest.raises(HasamaError, match=r"4000x3000 .* 900 MB may be taken.* --size (\d+) would fit") as told:
        side_within(painter, *large, 900_000_000, taken)
    size = int(str(told.value).split("--size ")[1].split()[0])
    assert 1000 < size < 4000
    assert side_within(painter, size * 3 // 4, size, 900_000_000, taken)
    with pytest.raises(HasamaError, match=r"Give it more \(--memory\)\.$"):
        side_within(painter, *large, 400_000_000, taken)
    assert side_within(painter_of(width=4), 600, 800, taken + 80_000_000, taken) == at_once.SIDE
    with pytest.raises(HasamaError, match="may be taken"):  # a thin one is not for nothing
        side_within(painter_of(width=4), 600, 800, taken + 40_000_000, taken)
    with pytest.raises(HasamaError, match="may be taken"):  # a wider painter needs more
        side_within(painter_of(width=96), *large, 1_400_000_000, taken)


def test_a_film_keeps_to_its_budget_too():
    following = at_once.Following(painter_of(), mix_of([1, 2]), budget=10**11)
    assert following.paint(soft_picture(40, 50)).shape == (1, 3, 40, 50)
    with pytest.raises(HasamaError, match="--memory"):
        at_once.Following(painter_of(), mix_of([1, 2]), budget=10**6).paint(soft_picture(40, 50))


# --- files ----------------------------------------------------------------------------------------


def test_a_file_keeps_the_painter(tmp_path: Path):
    painter, file = painter_of(), tmp_path / "p.safetensors"
    save_painter(painter, ["one", "zwei ü"], file)
    taught = load_painter(file)
    assert list(taught.styles) == styles_of(file) == ["one", "zwei ü"]
    assert teaching_of(file) is None
    photo, mix = soft_picture(40, 50), mix_of([1, 2])
    torch.testing.assert_close(taught.painter(photo, mix), painter(photo, mix), atol=0.02, rtol=0)  # half precision
    assert is_painter(file)
    assert file.stat().st_size < 1.2 * sum(p.numel() * 2 for p in painter.parameters()) + 10_000


def test_a_file_of_before_paints_as_it_did(tmp_path: Path):
    """With zeros beyond the edges, of which its header says nothing."""
    torch.manual_seed(0)
    old, file = Painter(1, 4, "zeros").requires_grad_(False).eval(), tmp_path / "old.safetensors"
    tensors = {name: tensor.half() for name, tensor in old.state_dict().items()}
    save_file(tensors, file, {"hasama-painter": json.dumps({"styles": ["a"], "width": 4})})
    photo, mix = soft_picture(40, 50), mix_of([1])
    torch.testing.assert_close(load_painter(file).painter(photo, mix), old(photo, mix), atol=0.02, rtol=0)
    assert load_painter(file).painter.padding == "zeros"


def test_other_and_damaged_files_are_no_painters(tmp_path: Path):
    good, other, broken = (tmp_path / f"{name}.safetensors" for name in ("good", "other", "broken"))
    save_painter(painter_of(), ["a", "b"], good)
    save_file({"x": torch.zeros(3)}, other)
    broken.write_bytes(good.read_bytes()[:2000])
    for file in (other, broken, tmp_path / "nothing.safetensors"):
        assert not is_painter(file)
        assert (styles_of(file), teaching_of(file)) == ([], None)
        with pytest.raises(HasamaError, match=r"painter"):
            load_painter(file)
    hostile = tmp_path / "hostile.safetensors"
    save_file({"x": torch.zeros(3)}, hostile, {"hasama-painter": json.dumps({"styles": ["a"], "width": 10**9})})
    with pytest.raises(HasamaError, match="not a painter"):
        load_painter(hostile)


# --- what it practises on -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["photos", "scenes"])
def test_crops_are_drawn_anew_and_by_the_generator_alone(kind: str, tmp_path: Path):
    style_scene(50, 70).save(tmp_path / "a.png")
    Image.new("RGB", (10, 300), "red").save(tmp_path / "thin.png")  # enlarged until a crop fits
    (tmp_path / "broken.png").write_bytes(b"nonsense")
    source = Photos(tmp_path, 32) if kind == "photos" else Scenes(32)
    first, again, other = (source.crops(3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == (3, 3, 32, 32)
    assert first.abs().max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    if isinstance(source, Photos):
        assert len(source.skipped) == 1
        assert len(source.kept) == 2
    else:
        assert first.std() > 0.1


def test_crops_are_of_all_sizes_and_show_something(tmp_path: Path):
    """Of a photo whose left half is plain, and whose right half goes from black above to white below."""
    pixels = np.full((256, 512, 3), 200, np.uint8)
    pixels[:, 256:] = np.arange(256)[:, None, None]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    crops = Photos(tmp_path, 32).crops(60, torch.Generator().manual_seed(0))
    ranges = (crops.mean(1).amax(1) - crops.mean(1).amin(1)).amax(1)  # as much as a crop is high
    assert (ranges > 0.3).float().mean() > 0.9  # about half of them if they were drawn but once
    assert ranges[ranges > 0.3].min() < 0.9
    assert ranges.max() > 1.6
    Image.new("RGB", (64, 64), "white").save(tmp_path / "a.png")  # nothing to see at all
    white = Photos(tmp_path, 32).crops(2, torch.Generator().manual_seed(0))
    assert 0 < white.std() < 0.02


def test_of_more_photos_than_are_kept_some_come_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in (scenes, teach_into):
        monkeypatch.setattr(module, "AT_MOST", 3)
    for number in range(7):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / f"{number}.png")
    photos = Photos(tmp_path, 32)
    assert [int(photo[0].max()) for photo in photos.kept] == [0, 3, 6]
    assert _skipped(photos) == "Of 7 photos 3 are practised on, from all over the folder."


def test_what_is_transparent_in_a_photo_is_white(tmp_path: Path):
    """And not what lies hidden below it."""
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(tmp_path / "a.png")
    assert Photos(tmp_path, 32).crops(2, torch.Generator().manual_seed(0)).mean() > 0.9


def test_no_photos_are_refused(tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"nonsense")
    with pytest.raises(HasamaError, match="can be read"):
        Photos(tmp_path, 32)


# --- teaching -------------------------------------------------------------------------------------

RECIPE = TeachRecipe(
    kimg=0.12, crop=32, batch=4, width=8, content_layers="relu2_1", style_layers="relu1_1,relu2_1", learning_rate=0.01
)


def school(recipe: TeachRecipe = RECIPE, styles: int = 1) -> School:
    network = VGG(narrow_weights(), ("relu1_1", "relu2_1"))
    return School([soft_picture(40, 40, seed) for seed in range(styles)], network, recipe, CPU)


@pytest.mark.slow
def test_the_losses_fall_and_the_rate_too():
    one = school(dataclasses.replace(RECIPE, kimg=0.2))
    records = list(teach(one, Scenes(32)))
    assert [record.images_seen for record in records] == list(range(4, 201, 4))
    sums = [sum(record.losses.values()) for record in records]
    assert np.mean(sums[-15:]) < 0.85 * np.mean(sums[:15])
    assert one.recipe.rate_at(200) < 0.02 * one.recipe.rate_at(20)
    assert one.recipe.rate_at(0) < 0.2 * one.recipe.rate_at(20)  # it rises first


@pytest.mark.parametrize("loss", ["gram", "wasserstein"])
def test_a_style_costs_nothing_where_it_is_met_and_one_where_there_is_nothing(loss: str):
    one = school(dataclasses.replace(RECIPE, style_loss=loss))
    style = soft_picture(40, 40)
    features = one.network(style)
    for layer, (distance, nothing) in one.wanted[0].items():
        met = moments(features[layer])
        assert float(distance(met)) / nothing < 1e-4
        empty = moments(torch.zeros_like(features[layer]))
        assert float(distance(empty)) / nothing == pytest.approx(1, abs=1e-3)


def test_a_teaching_of_before_goes_on_as_it_began(tmp_path: Path):
    folder = TeachFolder(tmp_path / "old.teaching")
    about = {"version": "0", "recipe": {"kimg": 2.0}, "paintings": [], "photos": None}
    folder.folder.mkdir()
    folder.about.write_text(json.dumps(about))
    assert (folder.recipe().style_loss, folder.recipe().padding) == ("gram", "zeros")
    assert (TeachRecipe().style_loss, TeachRecipe().padding) == ("wasserstein", "replicate")


def test_going_on_is_the_same_to_the_bit():
    short = dataclasses.replace(RECIPE, kimg=0.048)
    whole, part = school(short, styles=2), school(short, styles=2)
    for record in teach(part, Scenes(32)):
        if record.images_seen == 20:
            break
    rest = school(short, styles=2)
    rest.load_state_dict(part.state_dict())
    for one in (whole, rest):
        list(teach(one, Scenes(32)))
    for name, tensor in whole.painter.state_dict().items():
        assert torch.equal(tensor, rest.painter.state_dict()[name]), name


def test_a_loss_that_is_no_number_ends_it():
    broken = school()
    for parameter in broken.painter.parameters():
        parameter.data.fill_(torch.nan)
        break
    with pytest.raises(HasamaError, match="broke down"):
        next(teach(broken, Scenes(32)))


@pytest.mark.parametrize(
    "end",
    [
        HasamaError("a loss is no longer a number"),
        LostProcessError("one is gone"),
        KeyboardInterrupt("the second, which is to stop at once"),
        MemoryError("too little"),
    ],
)
def test_what_breaks_off_a_step_is_not_saved(end: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Else a painter of no numbers, or one that counts crops that it has not learnt from, would take its place."""
    folder, whole = TeachFolder(tmp_path), School.step

    def step(self: School, photos: torch.Tensor, random: torch.Generator) -> dict[str, float]:
        told = whole(self, photos, random)
        if self.images_seen == 12:
            raise end
        return told

    monkeypatch.setattr(School, "step", step)
    monkeypatch.setattr("hasama.style.painters.teach_into.SAVE_SECONDS", 0.0)
    with pytest.raises(type(end)):
        list(_watched(folder, school(), Scenes(32), ["one"], lambda: False))
    assert torch.load(folder.state, weights_only=True)["images_seen"] == 8


def teaching_into(folder: TeachFolder, style: Path):
    recipe = TeachRecipe(kimg=0.02, batch=4, crop=32, style_size=32, style_layers="relu1_1", content_layers="relu1_1")
    return teach_into.teach_into(folder, [style], None, recipe, Machine(device="cpu"))


def test_a_folder_that_is_deleted_meanwhile_is_told_and_what_was_learnt_can_be_gone_on_with(tmp_path: Path):
    _, style = lay_out(tmp_path)
    folder = TeachFolder(tmp_path / "p.teaching")
    lessons = teaching_into(folder, style)
    next(lessons)
    shutil.rmtree(folder.folder)
    with pytest.raises(HasamaError, match="was deleted or moved while it was taught in"):
        next(lessons)
    assert next(iter(teaching_into(TeachFolder(folder.folder), style))).images_seen == 12


def test_a_teaching_that_began_in_the_place_of_another_is_left_alone(tmp_path: Path):
    _, style = lay_out(tmp_path)
    folder = TeachFolder(tmp_path / "p.teaching")
    lessons = teaching_into(folder, style)
    next(lessons)
    folder.folder.rename(tmp_path / "mine")
    folder.folder.mkdir()
    (folder.folder / ".lock").touch()
    with pytest.raises(HasamaError, match=r"another painter is taught in its place\.$"):
        next(lessons)
    assert [file.name for file in folder.folder.iterdir()] == [".lock"]


# --- the command ----------------------------------------------------------------------------------


def teaching(folder: Path, *more: object, kimg: float = 0.02):
    _, style = lay_out(folder)
    return hasama_here("teach", style, "--out", folder / "p.safetensors", "--kimg", kimg, *BRIEF, *LAYERS, *more)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    done = teaching(folder)
    assert done.returncode == 0, done.stderr
    return folder / "p.safetensors"


def test_the_folder_holds_what_it_says(taught: Path):
    folder = taught.with_suffix(".teaching")
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    logged = len((folder / "log.jsonl").read_text().splitlines())  # a slow machine logs more than one step
    plotted = {"loss.png"} if logged > 1 else set()
    assert names == {"teach.json", "log.jsonl", "state.pt", "painter.safetensors", "preview.png"} | plotted
    assert (folder / "painter.safetensors").read_bytes() == taught.read_bytes()
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["images_seen"] == 20


@pytest.mark.slow
def test_the_same_command_goes_on_and_another_is_refused(taught: Path, tmp_path: Path):
    done = teaching(tmp_path)
    assert done.returncode == 0, done.stderr
    before = (tmp_path / "p.safetensors").read_bytes()
    assert before == taught.read_bytes()  # the same seed, the same painter
    assert teaching(tmp_path).returncode == 0
    assert (tmp_path / "p.safetensors").read_bytes() == before
    longer = teaching(tmp_path, kimg=0.03)
    assert longer.returncode == 0, longer.stderr
    assert (tmp_path / "p.safetensors").read_bytes() != before
    refused = teaching(tmp_path, "--style-weight", 2, kimg=0.03)
    assert refused.returncode == 2
    assert "choose another --out" in refused.stderr


def test_killed_it_goes_on(tmp_path: Path):
    _, style = lay_out(tmp_path)
    words = ["teach", style, "--out", tmp_path / "p.safetensors", "--kimg", "50", *BRIEF, *LAYERS]
    folder = tmp_path / "p.teaching"

    def go_on_beyond(images: int, process: Started) -> None:
        until = time.monotonic() + 60
        while not any(line["images_seen"] > images for line in TeachFolder(folder).log()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.05)

    process = start(*words)
    go_on_beyond(0, process)
    asked = hasama_here("stop", tmp_path / "p.safetensors")  # saves
    assert asked.returncode == 0, asked.stderr
    process.communicate()
    assert process.returncode == 0
    first = torch.load(folder / "state.pt", weights_only=True)["images_seen"]
    process = start(*words)
    go_on_beyond(first, process)
    process.send_signal(signal.SIGINT)  # saves, too
    process.communicate()
    assert process.returncode == 130
    for more, code in (([], 0), (["--requeue"], 75)):  # a scheduler's end: is another turn asked for?
        state = torch.load(folder / "state.pt", weights_only=True)
        assert state["images_seen"] > 0
        process = start(*words, *more)
        go_on_beyond(state["images_seen"], process)
        process.send_signal(signal.SIGTERM)
        process.communicate()
        assert process.returncode == code
    state = torch.load(folder / "state.pt", weights_only=True)
    process = start(*words)
    go_on_beyond(state["images_seen"], process)
    process.kill()
    process.communicate()
    (folder / "stop").touch()
    assert is_painter(folder / "painter.safetensors")
    assert torch.load(folder / "state.pt", weights_only=True)["images_seen"] >= state["images_seen"]


def test_photos_of_ones_own_and_broken_ones(tmp_path: Path):
    photos = tmp_path / "photos"
    photos.mkdir()
    style_scene(64, 48, 5).save(photos / "good.png")
    (photos / "broken.jpg").write_bytes(b"nonsense")
    for number in range(7):
        (photos / f"other{number}.jpg").write_bytes(b"nonsense")
    done = teaching(tmp_path, photos, kimg=0.01)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert told.count("Left out") == 1
    assert "broken.jpg" in told
    assert "and 3 more" in told


@pytest.mark.parametrize("colour", ["L", "RGBA", "RGB"])
def test_pictures_are_painted_at_their_own_size(taught: Path, tmp_path: Path, colour: str):
    style_scene(70, 45).convert(colour).save(tmp_path / "c.png")
    out = tmp_path / "out.png"
    done = hasama_here("style", tmp_path / "c.png", taught, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    made = pixels_of(out)
    assert made.shape == (45, 70, 4 if colour == "RGBA" else 3)
    (told,) = json.loads(done.stdout)
    assert told["size"] == [70, 45]
    assert told["styles"] == ["s"]
    half = hasama_here("style", tmp_path / "c.png", taught, "--out", tmp_path / "small.png", "--size", 35)
    assert half.returncode == 0, half.stderr
    assert pixels_of(tmp_path / "small.png").shape[:2] == (22, 35)


def test_colours_are_learnt_and_painted_as_they_are_seen(taught: Path, tmp_path: Path):
    """Of a picture whose profile says that red is blue."""
    pixels = np.asarray(style_scene(70, 45).convert("RGB"))
    Image.fromarray(pixels[..., ::-1]).save(tmp_path / "odd.png", icc_profile=SWAPPED)
    Image.fromarray(pixels).save(tmp_path / "usual.png")
    for name in ("odd", "usual"):
        done = hasama_here("style", tmp_path / f"{name}.png", taught, "--out", tmp_path / f"{name}-painted.png")
        assert done.returncode == 0, done.stderr
    odd, usual = (pixels_of(tmp_path / f"{name}-painted.png").astype(int) for name in ("odd", "usual"))
    assert np.abs(odd - usual).mean() < 1.5
    assert np.abs(odd - usual[..., ::-1]).mean() > 5
    assert "icc_profile" not in Image.open(tmp_path / "odd-painted.png").info
    learnt = [_at_size(Picture(pixels), 40), _at_size(Picture(pixels[..., ::-1].copy(), None, SWAPPED), 40)]
    assert (learnt[0] - learnt[1]).abs().mean() < 0.02


def test_a_runs_samples_are_of_the_seed_that_is_asked_for(taught: Path, tmp_path: Path):
    words = ("style", BASES / "digits", taught, "--samples", 2, "--size", 32)
    for seed in (0, 5):
        done = hasama_here(*words, "--seed", seed, "--out", tmp_path / f"{seed}")
        assert done.returncode == 0, done.stderr
    first, other = (sorted((tmp_path / f"{seed}").glob("*.png")) for seed in (0, 5))
    assert [path.name.partition("--")[0] for path in other] == ["seed5-000000", "seed5-000001"]
    assert (pixels_of(first[0]) != pixels_of(other[0])).any()


def test_folders_streams_colours_and_films(taught: Path, tmp_path: Path):
    contents = tmp_path / "contents"
    contents.mkdir()
    for number in range(3):
        style_scene(40, 30, number).save(contents / f"{number}.png")
    (contents / "broken.png").write_bytes(b"nonsense")
    done = hasama_here("style", contents, taught, "--out", tmp_path / "many", "--sheet")
    assert done.returncode == 1, done.stderr
    assert len(list((tmp_path / "many").glob("*.png"))) == 4
    again = hasama_here("style", contents, taught, "--out", tmp_path / "many")
    assert again.stdout.count("is already painted.") == 3
    weaker = hasama_here("style", contents / "0.png", taught, "--out", tmp_path / "many", "--strength", "0.5")
    assert "already painted" not in weaker.stdout
    kept = hasama_here("style", contents / "0.png", taught, "--out", tmp_path / "k.png", "--keep-colour", "luminance")
    assert kept.returncode == 0, kept.stderr
    frames = [style_scene(40, 30, number) for number in range(3)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:], duration=80)
    film = hasama_here("style", tmp_path / "film.gif", taught, "--out", tmp_path / "out.gif")
    assert film.returncode == 0, film.stderr
    with Image.open(tmp_path / "out.gif") as made:
        assert getattr(made, "n_frames", 1) == 3
        assert made.size == (40, 30)


def test_a_film_keeps_its_colours_as_a_photo_does(taught: Path, tmp_path: Path):
    """Of a photo in grey only luminance is painted; of a film, too."""
    grey = [style_scene(40, 30, number).convert("L").convert("RGB") for number in range(2)]
    grey[0].save(tmp_path / "film.webp", save_all=True, append_images=grey[1:], duration=80, lossless=True)
    colourful = {}
    for name, flags in (("kept", ["--keep-colour", "luminance"]), ("changed", [])):
        out = tmp_path / f"{name}.apng"
        done = hasama_here("style", tmp_path / "film.webp", taught, "--out", out, *flags)
        assert done.returncode == 0, done.stderr
        made = pixels_of(out)[..., :3].astype(int)
        colourful[name] = int((made.max(-1) - made.min(-1)).max())
    assert colourful["kept"] <= 2 < 10 < colourful["changed"]


@pytest.mark.parametrize("name", ["c.png", "c.gif"])
def test_where_nobody_named_a_place_an_earlier_painting_is_kept(
    taught: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    frames = [style_scene(40, 30, number) for number in range(2)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:] if name == "c.gif" else [])
    monkeypatch.chdir(tmp_path)
    place = Path(f"c--{taught.stem}{Path(name).suffix}")
    assert hasama_here("style", name, taught).returncode == 0
    first = place.read_bytes()
    weaker = hasama_here("style", name, taught, "--strength", "0.3")
    kept = place.with_name(f"{place.stem}-2{place.suffix}")
    assert f"it is kept as {kept}" in weaker.stdout, weaker.stderr
    assert kept.read_bytes() == first != place.read_bytes()
    again = hasama_here("style", name, taught, "--strength", "0.3")
    assert again.stdout == f"{place} is already painted.\n"


def test_a_film_that_another_process_paints_is_refused(taught: Path, tmp_path: Path):
    frames = [style_scene(40, 30, number) for number in range(2)]
    frames[0].save(tmp_path / "c.gif", save_all=True, append_images=frames[1:])
    with claimed(tmp_path / "o.gif") as claim:
        assert claim is not None
        refused(hasama_here("style", tmp_path / "c.gif", taught, "--out", tmp_path / "o.gif"), "is painting it")
    assert not (tmp_path / "o.gif").exists()


def test_a_painter_takes_no_network(taught: Path, tmp_path: Path):
    style_scene(40, 30).save(tmp_path / "c.png")
    done = hasama_here("style", tmp_path / "c.png", taught, "--weights", "x.pth", "--out", tmp_path / "o.png")
    refused(done, "--weights does not apply to a painter")
    assert not (tmp_path / "o.png").exists()


# --- what is there already ------------------------------------------------------------------------


def copied(taught: Path, folder: Path) -> Path:
    """A finished teaching in another folder, from the same painting."""
    lay_out(folder)
    shutil.copytree(taught.with_suffix(".teaching"), folder / "p.teaching")
    return Path(shutil.copy(taught, folder / "p.safetensors"))


def test_what_lies_at_out_is_not_lost(taught: Path, tmp_path: Path):
    painter = copied(taught, tmp_path)
    before = painter.read_bytes()
    shutil.rmtree(tmp_path / "p.teaching")
    refused = teaching(tmp_path)
    assert refused.returncode == 2
    assert "p.safetensors is there already" in refused.stderr
    assert "choose another --out" in " ".join(refused.stderr.split())
    assert painter.read_bytes() == before
    assert not (tmp_path / "p.teaching").exists()  # nothing was begun


@pytest.mark.parametrize("other", ["picture", "painter"])
def test_what_is_another_s_is_not_replaced_by_going_on(other: str, taught: Path, tmp_path: Path):
    painter = copied(taught, tmp_path)
    if other == "picture":
        style_scene(40, 30).save(painter, "PNG")
    else:
        save_painter(painter_of(1), ["another"], painter, teaching="of another")
    before = painter.read_bytes()
    refused = teaching(tmp_path, kimg=0.03)
    assert refused.returncode == 2
    assert "is not what was taught in" in refused.stderr
    assert painter.read_bytes() == before
    assert torch.load(tmp_path / "p.teaching" / "state.pt", weights_only=True)["images_seen"] == 20


def test_an_earlier_painter_of_the_same_teaching_is_replaced(taught: Path, tmp_path: Path):
    """After a kill the file beside the folder is older than what the folder holds; and before, files said nothing."""
    painter = copied(taught, tmp_path)
    mark = teaching_of(painter)
    assert mark is not None
    save_painter(painter_of(1), ["s"], painter, teaching=mark)
    done = teaching(tmp_path)
    assert done.returncode == 0, done.stderr
    assert painter.read_bytes() == taught.read_bytes()
    for file in (painter, tmp_path / "p.teaching" / "painter.safetensors"):
        save_painter(painter_of(1), ["s"], file)
    done = teaching(tmp_path, kimg=0.03)
    assert done.returncode == 0, done.stderr
    assert teaching_of(painter) == mark  # however long


def test_a_painter_that_is_gone_is_written_anew(taught: Path, tmp_path: Path):
    painter = copied(taught, tmp_path)
    painter.unlink()
    (tmp_path / "p.teaching" / "painter.safetensors").unlink()
    done = teaching(tmp_path)
    assert done.returncode == 0, done.stderr
    assert painter.read_bytes() == taught.read_bytes()


def test_without_its_state_a_teaching_does_not_begin_anew(taught: Path, tmp_path: Path):
    painter = copied(taught, tmp_path)
    (tmp_path / "p.teaching" / "state.pt").unlink()
    refused = teaching(tmp_path, kimg=0.03)
    assert refused.returncode == 2
    assert "state.pt, which going on needs, is gone" in refused.stderr
    assert painter.read_bytes() == taught.read_bytes()
    assert (tmp_path / "p.teaching" / "painter.safetensors").read_bytes() == taught.read_bytes()


def test_nor_where_its_painter_is_gone_from_the_folder_too(taught: Path, tmp_path: Path):
    painter = copied(taught, tmp_path)
    for name in ("state.pt", "painter.safetensors"):
        (tmp_path / "p.teaching" / name).unlink()
    refused = teaching(tmp_path, kimg=0.03)
    assert refused.returncode == 2
    assert "is what was learnt" in refused.stderr
    assert painter.read_bytes() == taught.read_bytes()


def test_a_command_that_was_refused_does_not_stand_in_the_way_of_its_correction(tmp_path: Path):
    _, style = lay_out(tmp_path)
    wrong = hasama_here("teach", style, "--out", tmp_path / "p.safetensors", *BRIEF, "--style-layers", "relu9_9")
    assert wrong.returncode == 2
    assert "relu9_9" in wrong.stderr
    assert not (tmp_path / "p.teaching").exists()
    unknown = teaching(tmp_path, "--weights", "~nobody-of-that-name/vgg.pth")
    assert unknown.returncode == 2
    assert "Traceback" not in unknown.stderr
    folder = TeachFolder(tmp_path / "p.teaching")  # killed before anything was saved
    folder.begin(TeachRecipe(seed=5), {"paintings": [], "photos": None}, {})
    assert teaching(tmp_path).returncode == 0


def test_a_smaller_length_is_told_not_to_count(taught: Path, tmp_path: Path):
    copied(taught, tmp_path)
    done = teaching(tmp_path, kimg=0.01)
    assert done.returncode == 0, done.stderr
    assert "It goes on to 0.02 kimg, as was asked for before." in done.stdout


def test_of_an_animation_the_first_picture_is_taken_and_that_is_told(tmp_path: Path):
    _, style = lay_out(tmp_path)
    frames = [style_scene(40, 30, number) for number in range(2)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:], duration=80)
    out = ("--out", tmp_path / "a film.safetensors")
    learnt = hasama_here("teach", tmp_path / "film.gif", style, *out, "--kimg", 0.01, *BRIEF, *LAYERS)
    shown = hasama_here(
        "invert", tmp_path / "film.gif", "--layers", "relu1_1", "--size", 32, "--iterations", 1,
        "--out", tmp_path / "layers",
    )  # fmt: skip
    for done in (learnt, shown):
        assert done.returncode == 0, done.stderr
        told = " ".join(done.stdout.split())
        assert told.count("film.gif holds 2 pictures (an animation): only the first is taken.") == 1
    assert "a film.safetensors'" in learnt.stdout, "the command that it proposes is fit for pasting"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--strength", "2"], "--strength must be between 0 and 1"),
        (["--mix", "1,2"], "--mix takes a number for each style"),
        (["--content-weight", "1"], "--content-weight does not apply"),
        (["--keep-colour", "histogram"], "luminance"),
        (["--recipe", "sketch"], "--recipe does not apply"),
        (["--preview"], "--preview does not apply"),
        (["--memory", "100MB"], "Give it more (--memory)"),
    ],
)
def test_what_a_painter_cannot_do_is_refused(taught: Path, tmp_path: Path, flags: list[str], told: str):
    content, _ = lay_out(tmp_path)
    done = hasama_here("style", content, taught, "--out", tmp_path / "o.png", *flags)
    assert done.returncode == 2
    assert told in done.stderr
    assert not (tmp_path / "o.png").exists()


def test_other_wrong_commands(taught: Path, tmp_path: Path):
    content, style = lay_out(tmp_path)
    for words, told in (
        (("style", content, taught, style), "stands alone"),
        (("style", content, tmp_path / "none.safetensors"), "There is no painter"),
        (("style", content, style, "--strength", 0.5), "--strength is for --recipe instant and for painters"),
        (("teach", tmp_path), "one or several paintings"),
        (("teach", style, "--out", "x.png"), "ends in .safetensors"),
        (("teach", style, "--content-weight", 0, "--style-weight", 0), "there is nothing to learn"),
        (("teach", style, "--learning-rate", 0), "With --learning-rate 0 nothing is learnt"),
        (("teach", style, "--clip", 0), "With --clip 0 nothing is learnt"),
        (("invert", content, "--iterations", 0), "--iterations must lie between 1 and 1000000; got 0"),
        (("stop", content.with_name("none.safetensors")), "There is no run"),
        (("stop", taught), "Nobody is teaching in"),
        (("invert", content, "--layers", "relu1_1:2,relu2_1"), "--layers takes names alone"),
        (("style", content, taught, "--mix", "0"), "a number for each style, not all 0"),
        (("style", content, style, "--start", "~nobody-of-that-name/p.png"), "~nobody-of-that-name/p.png"),
        (("teach", tmp_path / "none.png", "--out", tmp_path / "q.safetensors"), "no picture"),
    ):
        done = hasama_here(*words)
        assert done.returncode == 2, words
        assert told in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("onnx_operators_once")
def test_a_painter_as_onnx_paints_any_size(taught: Path, tmp_path: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    file = tmp_path / "starry.safetensors"
    name = os.fsdecode(b"f\xfcr")  # the file that tells it is in UTF-8
    save_painter(load_painter(taught).painter, [name], file)
    done = hasama_here("export", file)
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(str(tmp_path / "starry.onnx"))
    told = json.loads(session.get_modelmeta().custom_metadata_map["hasama-painter"])
    assert told["styles"] == ["photo", name]
    photo, mix = soft_picture(48, 104), mix_of([1.0], 0.6)
    (made,) = session.run(["paintings"], {"photos": photo.numpy(), "mix": mix.numpy()})
    wanted = load_painter(file).painter(photo, mix).numpy()
    assert np.abs(made - wanted).max() < 1e-3
    for flags, message in ((["--safetensors"], "is what to share"), (["--out", tmp_path / "x.png"], "ends in .onnx")):
        refused = hasama_here("export", file, *flags)
        assert refused.returncode == 2
        assert message in refused.stderr


def test_the_border_hides_the_zeros_around():
    assert BORDER % 8 == 0
