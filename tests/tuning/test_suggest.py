"""hasama suggest: what it sees in pictures, what it chooses, and whether its command really works."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from advice import advise
from command import hasama, make_pictures, refused
from hasama.cli.commands.suggest import suggest
from hasama.device import free_memory
from hasama.errors import HasamaError
from hasama.health.signals import Probe
from hasama.perception.extractors import extractor_named
from hasama.pictures.cache import open_pictures
from hasama.pictures.sources.sources import open_source
from hasama.presets import RECIPES, flags_of_difference
from hasama.recipe import Recipe
from hasama.runs.folder import Run
from hasama.runs.pace import Pace, fitting, measure, peak_memory, widest
from hasama.tuning.suggest import (
    FIRST_SHARE,
    choose_form,
    choose_rest,
    has_room,
    hours_of,
    smaller,
    wider,
    with_batch,
    with_length,
    with_stage,
    with_width,
)
from hasama.tuning.survey import (
    Headers,
    Looks,
    Machine,
    _compare,
    look_at,
    read_headers,
    survey_machine,
    warnings_about_machine,
)

CPU = Machine("cpu", "the processor", 2, True, 8 * 2**30, 2, 0.0)
SQUARE = Headers(5000, 200, 200, 1.0, 1.0, False, {"": 5000})
PLAIN = Looks(0.0, 0.0, 40.0, 1.3, False, True)


def save(folder: Path, arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(arrays):
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def noise(count: int, height: int = 16, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, height, width, 3), dtype=np.uint8)


# --- the command ----------------------------------------------------------------------------------


def test_the_suggested_command_trains(pictures: Path, tmp_path: Path):
    done = advise("suggest", pictures, "--json", "--threads", 1, HASAMA_TEST_SECONDS="0.3")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["images_per_second"] > 0
    assert told["kimg_per_hour"] == pytest.approx(3.6 * told["images_per_second"], rel=0.01)
    assert told["hours"] == pytest.approx(told["recipe"]["kimg"] / told["kimg_per_hour"], rel=0.02, abs=1e-3)
    assert told["cache_bytes"] == 40 * 20 * 20 * 3
    assert 2**26 < told["memory_bytes"] < 2**33
    assert Recipe.from_dict(told["recipe"]).labels
    assert {one["choice"] for one in told["reasons"]} >= {"vision-aided", "size 20", "labels", "augment diffaugment"}
    program, train, *arguments = shlex.split(told["command"])
    assert (program, train) == ("hasama", "train")
    assert arguments[-2:] == ["--threads", "1"]  # with so many it was timed
    if "--kimg" in arguments:  # there where the machine was too slow for the preset's length
        place = arguments.index("--kimg")
        del arguments[place : place + 2]
    done = hasama("train", *arguments, "--kimg", 0.032, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    trained = Run(tmp_path / "run").recipe()
    assert trained.but(kimg=1) == Recipe.from_dict(told["recipe"]).but(kimg=1)


def test_it_tells_people_what_to_expect(tmp_path: Path):
    mixed = make_pictures(tmp_path / "a folder", 6)
    done = advise("suggest", mixed, "--size", 8, "--hours", 0.01, "--threads", 1, HASAMA_TEST_SECONDS="0.1")
    assert done.returncode == 0, done.stderr
    for words in (
        "6 different pictures are far too few", "images/s", "kimg an hour", "memory", "disk", "timed steps",
        "0.01 h are too few", "Longer than 0.01 h", "as you asked", f"hasama train '{mixed}' vision-aided --size 8",
    ):  # fmt: skip
        assert words in done.stdout, (words, done.stdout)


def test_bad_input_is_refused(pictures: Path, tmp_path: Path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    refused(advise("suggest", tmp_path / "nowhere"), "no pictures at")
    bad: list[tuple[str, Path, dict[str, Any]]] = [
        ("No file in", tmp_path / "texts", {}),
        ("--hours", pictures, {"hours": 0.0}),
        ("--size", pictures, {"size": "17"}),
        ("--device cpu", pictures, {"device": "nonsense"}),
        ("--threads", pictures, {"threads": 0}),
    ]
    for words, source, flags in bad:
        with pytest.raises(HasamaError, match=words):
            suggest(str(source), **flags)


# --- what it sees ---------------------------------------------------------------------------------


def test_headers(tmp_path: Path):
    folder = save(tmp_path / "wide", noise(4, 10, 20))
    (folder / "notes.txt").write_text("no picture")
    turned = Image.fromarray(noise(1, 20, 10)[0])
    exif = turned.getexif()
    exif[274] = 6  # stored upright, seen lying down
    turned.save(folder / "turned.jpg", exif=exif)
    headers = read_headers(open_source(str(folder)))
    assert headers is not None
    assert (headers.files, headers.width, headers.height, headers.same) == (5, 20, 10, True)
    assert headers.labels == {"": 5}
    assert headers.aspect == 2
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    assert read_headers(open_source(str(tmp_path / "texts"))) is None


def looks_of(arrays: np.ndarray, folder: Path) -> Looks:
    return look_at(open_pictures(str(save(folder, arrays)), Recipe(size="16")))


def test_texts_are_no_class(tmp_path: Path):
    save(tmp_path / "all" / "cats", noise(4))
    (tmp_path / "all" / "texts").mkdir()
    for number in range(5):
        (tmp_path / "all" / "texts" / f"{number}.txt").write_text("a")
    headers = read_headers(open_source(str(tmp_path / "all")))
    assert headers is not None
    assert (headers.files, headers.labels) == (4, {"cats": 4})


def test_of_one_picture_crops_are_cut(tmp_path: Path):
    Image.fromarray(noise(1, 400, 40)[0]).save(tmp_path / "narrow.png")
    headers = read_headers(open_source(str(tmp_path / "narrow.png")))
    assert headers is not None
    why = choose_form(headers, CPU, None)[1][0].why
    assert "crops are cut" in why
    assert "middle" not in why
    assert not suggested(1, PLAIN._replace(near=0.9), tmp_path, crops=500).warnings


def test_pictures_that_are_transparent_everywhere_are_seen(tmp_path: Path):
    pixels = np.concatenate([noise(10), np.full((10, 16, 16, 1), 255, np.uint8)], axis=3)
    pixels[:3, :, :, 3] = 0
    pixels[3, :8, :, 3] = 0
    looks = looks_of(pixels, tmp_path / "some")
    assert looks.clear == pytest.approx(0.3)
    assert not looks.opaque


def test_left_and_right_are_told_apart(tmp_path: Path):
    """Pictures that are bright on the left only have a left; with their mirror images among them they have none."""
    lit = noise(40) // 4
    lit[:, :, :8] += 150
    assert looks_of(lit, tmp_path / "lit").mirrored > 1.5
    assert looks_of(np.concatenate([lit, lit[:, :, ::-1]]), tmp_path / "both").mirrored < 1.05


def test_exact_copies_are_not_nearly_the_same():
    """However many: by matrix products, which torch takes for more than 25, they are not quite 0 apart."""
    thumbs = torch.rand(100, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    assert _compare(torch.cat([thumbs, thumbs]))[0] == 0
    nearly = thumbs + torch.randn(thumbs.shape, generator=torch.Generator().manual_seed(1))
    assert _compare(torch.cat([thumbs, nearly]))[0] == 1


@pytest.mark.parametrize("share", [0.05, 0.25, 1.0])
def test_copies_do_not_give_pictures_a_left_and_a_right(share: float, tmp_path: Path):
    plain = noise(40)
    again = np.concatenate([plain, plain[: round(40 * share)]])
    seen = looks_of(again, tmp_path / "again").mirrored
    assert seen == pytest.approx(looks_of(plain, tmp_path / "plain").mirrored, rel=0.03)
    assert looks_of(np.repeat(plain[:1], 5, 0), tmp_path / "one").mirrored == float("inf")


def test_dull_pictures_are_told(tmp_path: Path):
    flat = np.broadcast_to(np.arange(0, 240, 12, dtype=np.uint8)[:, None, None, None], (20, 16, 16, 3))
    seen = looks_of(flat, tmp_path / "flat")
    assert seen.flat == 1
    assert seen.grey
    alike = np.repeat(noise(1) // 2, 20, 0)
    alike[np.arange(20), 0, np.arange(20) % 16] += 60
    seen = looks_of(alike, tmp_path / "alike")
    assert seen.near == 1
    assert seen.spread < 3
    assert not seen.grey


def test_one_picture_alone_can_be_looked_at(tmp_path: Path):
    seen = looks_of(noise(1), tmp_path / "one")
    assert seen.mirrored == float("inf")
    assert seen.near == 0


def test_the_machine_is_surveyed(tmp_path: Path):
    machine = survey_machine(torch.device("cpu"))
    assert machine.free_memory is None or machine.free_memory > 2**20
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   2048 kB\n")
    assert free_memory(tmp_path / "meminfo") == 2 * 2**20
    (tmp_path / "meminfo").write_text("nonsense")
    fallen_back = free_memory(tmp_path / "meminfo")
    assert fallen_back is None or fallen_back > 2**20


# --- what it chooses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "size", "enlarge"),
    [
        (SQUARE._replace(width=400, height=300), "64", 1),
        (SQUARE._replace(width=100, height=100), "64", 1),
        (SQUARE._replace(width=40, height=40), "32", 1),
        (SQUARE._replace(width=28, height=28, same=True), "28", 1),
        (SQUARE._replace(width=27, height=27, same=True), "16", 1),
        (SQUARE._replace(width=300, height=200, aspect=1.5), "96x64", 1),
        (SQUARE._replace(width=200, height=300, aspect=1 / 1.5), "64x96", 1),
        (SQUARE._replace(width=300, height=200, aspect=1.5, alike=0.3), "64", 1),
        (SQUARE._replace(width=2000, height=200, aspect=10.0), "64", 1),
        (SQUARE._replace(width=5, height=5, same=True), "8", 1),
    ],
)
def test_the_size_suits_the_pictures(headers: Headers, size: str, enlarge: int):
    recipe, reasons = choose_form(headers, CPU, None)
    assert (recipe.size, recipe.enlarge) == (size, enlarge)
    assert all(reason.why.endswith(".") for reason in reasons)


@pytest.mark.parametrize(("size", "enlarge"), [("64", 1), ("128", 1), ("96x128", 1), ("256", 2), ("512x640", 4)])
def test_an_asked_size_is_enlarged_where_it_can_be(size: str, enlarge: int):
    recipe, reasons = choose_form(SQUARE, CPU, size)
    assert (recipe.size, recipe.enlarge) == (size, enlarge)
    assert any(reason.choice == f"enlarge {enlarge}" for reason in reasons) == (enlarge > 1)


def test_why_that_size():
    long = choose_form(SQUARE._replace(width=2000, height=200, aspect=10.0), CPU, None)[1][0].why
    assert "long and narrow, so that their middle is cut out" in long
    assert (
        "of different shapes" in choose_form(SQUARE._replace(width=300, aspect=1.5, alike=0.3), CPU, None)[1][0].why
    )
    assert "they are enlarged" in choose_form(SQUARE._replace(width=400, height=3, aspect=133.0), CPU, None)[1][0].why


def test_a_gpu_gets_larger_pictures():
    assert choose_form(SQUARE, CPU._replace(device="cuda:0"), None)[0].size == "128"


@pytest.mark.parametrize(
    ("labels", "learnt"),
    [
        ({"a": 2500, "b": 2500}, True),
        ({"": 5000}, False),
        ({"": 2000, "a": 1500, "b": 1500}, False),
        ({"train": 4000, "test": 1000}, False),
        ({"a": 4990, "b": 10}, False),
    ],
)
def test_folders_are_classes_only_if_they_can_be(labels: dict[str, int], learnt: bool):
    recipe, reasons = choose_form(SQUARE._replace(labels=labels), CPU, None)
    assert recipe.labels == learnt
    assert reasons[1].why


def suggested(count: int, looks: Looks, tmp_path: Path, machine: Machine = CPU, **report: object):
    pictures = open_pictures(str(save(tmp_path / "some", noise(2))), Recipe(size="16"))
    for name, value in {"used": count, **report}.items():
        setattr(pictures.report, name, value)
    return choose_rest(Recipe(size="16"), pictures, looks, machine)


@pytest.mark.parametrize(
    ("count", "preset", "augment"),
    [
        (4, "vision-aided", "diffaugment"),
        (999, "vision-aided", "diffaugment"),
        (2000, "vision-aided", "ada"),
        (20_000, "vision-aided", "none"),
    ],
)
def test_the_fewer_pictures_the_more_help(count: int, preset: str, augment: str, tmp_path: Path):
    found = suggested(count, PLAIN, tmp_path)
    assert (found.preset, found.recipe.augment) == (preset, augment)
    assert any("far too few" in warning for warning in found.warnings) == (count < 10)
    assert found.recipe.batch <= max(4, count)


def test_a_card_gets_larger_batches_and_what_does_not_fit_is_halved(tmp_path: Path):
    here = suggested(2000, PLAIN, tmp_path)
    found = suggested(2000, PLAIN, tmp_path, CPU._replace(device="cuda:0"))
    assert (here.recipe.batch, found.recipe.batch) == (8, 32)
    assert found.recipe == here.recipe.but(batch=32, health_kimg=50)
    assert suggested(9, PLAIN, tmp_path, CPU._replace(device="cuda:0")).recipe.batch == 8
    tried = []

    def measured(recipe: Recipe) -> Pace:
        tried.append(recipe.batch)
        if recipe.batch > 10:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return Pace(50.0, 10, None)

    fits, pace = fitting(found.recipe, measured)
    assert tried == [32, 16, 8]
    assert (fits, pace.steps) == (here.recipe.but(health_kimg=50), 10)
    less = with_batch(found, fits.batch)
    assert less.recipe == fits
    assert [one.choice for one in less.reasons if "batch" in one.choice] == ["batch 8"]
    assert "32 pictures at once do not fit" in less.reasons[-1].why
    assert with_batch(found, 32) == found

    def full(recipe: Recipe) -> Pace:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def broken(recipe: Recipe) -> Pace:
        raise RuntimeError("something else")

    for raises, kind in ((full, torch.OutOfMemoryError), (broken, RuntimeError)):
        with pytest.raises(kind):
            fitting(found.recipe, raises)


CARD = CPU._replace(device="cuda:0", free_memory=8 * 2**30)


@pytest.mark.parametrize(
    ("speed", "memory", "most", "hours", "width"),
    [
        (3000, 1, 99, 1.0, 32),  # images a second and GiB at a width of 16: with 32 half and twice as many
        (3000, 5, 99, 1.0, 16),  # 32 would take 10 of 8 GiB
        (3000, 1, 16, 1.0, 16),  # 32 runs out of memory
        (900, 1, 99, 1.0, 16),  # 1,000 kimg at a width of 32 take 37 of 60 minutes
        (900, 1, 99, 2.0, 32),
    ],
)
def test_a_card_with_time_and_memory_gets_wider_networks(
    speed: float, memory: float, most: int, hours: float, width: int, tmp_path: Path
):
    found = suggested(2000, PLAIN, tmp_path, CARD)

    def measured(recipe: Recipe) -> Pace:
        if recipe.width > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        times = recipe.width / 16
        return Pace(speed / times, 10, int(memory * times * 2**30))

    def room(recipe: Recipe, pace: Pace) -> bool:
        return has_room(recipe, pace, CARD, hours)

    wide, pace = widest(found.recipe, measured(found.recipe), wider(found, CARD), measured, room)
    assert (wide.width, pace.images_per_second) == (width, speed * 16 / width)
    slower = round(0.002 * (16 / width) ** 0.5, 5)
    assert wide == found.recipe.but(width=width, generator_lr=slower, discriminator_lr=slower)
    told = [one.choice for one in with_width(found, wide).reasons if one.choice.startswith("width")]
    assert told == ([f"width {width}"] if width > 16 else [])
    typed = flags_of_difference(wide, RECIPES["vision-aided"])
    assert ("--width" in typed, "--generator-lr" in typed) == (width > 16, False)


def test_networks_stay_as_they_are_where_a_base_or_a_processor_says_so(tmp_path: Path):
    found = suggested(2000, PLAIN, tmp_path, CARD)
    based = found._replace(recipe=found.recipe.but(size="64", init_from="portraits"))
    assert not list(wider(based, CARD))
    assert not list(wider(found, CPU))

    def broken(recipe: Recipe) -> Pace:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        widest(found.recipe, Pace(1.0, 1, None), wider(found, CARD), broken, lambda *_: True)


@pytest.mark.slow
def test_the_whole_suggestion_is_of_the_width_that_was_timed(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(Machine, "on_card", True)
    monkeypatch.setattr("hasama.runs.pace.SECONDS", 0.01)
    assert suggest(str(pictures), size="16", hours=1000, json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["recipe"]["width"] == 32
    assert "--width 32" in told["command"]
    assert told["hours"] < 500


def test_mirror_colour_and_warnings(tmp_path: Path):
    found = suggested(2000, PLAIN._replace(mirrored=1.01, grey=True, near=0.5), tmp_path)
    assert found.recipe.mirror
    assert found.recipe.colour == "grey"
    assert "50% of the pictures are nearly the same" in found.warnings[0]
    assert not suggested(2000, PLAIN, tmp_path).recipe.mirror
    assert "one colour each" in suggested(2000, PLAIN._replace(flat=1.0), tmp_path).warnings[0]
    assert "all nearly the same" in suggested(2000, PLAIN._replace(spread=1.0), tmp_path).warnings[0]
    assert "transparent everywhere" in suggested(2000, PLAIN._replace(clear=0.1), tmp_path).warnings[0]
    copies = suggested(100, PLAIN, tmp_path, duplicates=[["a"] * 30]).warnings
    assert copies == ["29 of the 100 pictures are copies: 71 different ones are left."]
    assert suggested(1, PLAIN, tmp_path, crops=500).preset == "vision-aided"


def test_the_length_fits_the_hours(tmp_path: Path):
    found = suggested(2000, PLAIN, tmp_path)
    for rate, kimg in ((1000.0, 1000.0), (150.0, 540.0), (151.5, 540.0), (1.0, 40.0)):
        chosen = with_length(found, Pace(rate, 10, None), 1.0)
        assert chosen.recipe.kimg == kimg
        assert chosen.reasons[-1].choice == f"{kimg:g} kimg"


@pytest.mark.parametrize(
    ("changes", "crops", "staged"),
    [
        ({"size": "128"}, 0, True), ({"size": "192x128"}, 0, True), ({"size": "256", "enlarge": 2}, 0, True),
        ({"size": "64"}, 0, False), ({"size": "192x96"}, 0, False), ({"size": "256", "enlarge": 4}, 0, False),
        ({"size": "128", "init_from": "portraits"}, 0, False), ({"size": "128"}, 500, False),
    ],
)  # fmt: skip
def test_large_pictures_begin_with_half_the_size(changes: dict, crops: int, staged: bool, tmp_path: Path):
    found = suggested(2000, PLAIN, tmp_path)
    found = found._replace(recipe=found.recipe.but(**changes))
    report = open_pictures(str(tmp_path / "some"), Recipe(size="16")).report
    report.crops = crops
    pace = Pace(50.0, 10, None)
    chosen = with_length(with_stage(found, report), pace, 1.0)
    assert hours_of(chosen.recipe, pace) <= 1.0
    assert hours_of(chosen.recipe, pace) > 0.9
    if not staged:
        assert (chosen.recipe.small_kimg, chosen.recipe.kimg) == (0, 180)
        return
    assert (chosen.recipe.small_kimg, chosen.recipe.kimg) == (130, 100)  # of 144 and 108, to two digits
    assert pace.hours(chosen.recipe.small_kimg / 2) == pytest.approx(FIRST_SHARE, abs=0.05)
    assert chosen.reasons[-1].choice == "130 + 100 kimg"
    halved = smaller(chosen.recipe)
    assert halved is not None
    large = chosen.recipe.enlarge > 1  # half of it is played at the same size, as `suggest --size` would have it
    assert (halved.enlarge, halved.small_kimg) == (1, chosen.recipe.small_kimg if large else 0)


def test_smaller_keeps_the_shape():
    halved = smaller(RECIPES["r3gan"].but(size="64x96"))
    assert halved is not None
    assert halved.size == "32x48"
    assert smaller(RECIPES["r3gan"].but(size="16")) is None


def test_what_the_machine_lacks_is_told():
    slow, large = CPU._replace(load=9.0), Pace(1.0, 1, 60 * 2**30)
    assert not warnings_about_machine(Pace(1.0, 1, 2**28), CPU)
    assert "busy" in warnings_about_machine(Pace(1.0, 1, 2**28), slow)[0]
    assert "memory" in warnings_about_machine(large, CPU)[0]


def test_measuring_leaves_no_trace(pictures: Path, tmp_path: Path):
    recipe = RECIPES["dcgan"].but(size="8", width=4, latent_size=8, batch=8, precision="fp32")
    larger = open_pictures(str(pictures), recipe.but(size="16"))
    pace = measure(recipe, larger, torch.device("cpu"), seconds=0.0)
    assert pace.steps == 3
    assert pace.images_per_second > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "health", "seen"),
    [
        ({"quality_features": "vgg19"}, 1, 64),
        ({"quality_features": "efficientnet"}, 1, 16),
        ({"health_kimg": 0.0, "quality_kimg": 0.0}, 0, 0),
    ],
)
def test_memory_is_foretold_with_the_looks_of_a_run(
    changes: dict, health: int, seen: int, pictures: Path, monkeypatch: pytest.MonkeyPatch
):
    """As many pictures at once as the network that judges the quality is given in a run."""
    recipe = RECIPES["dcgan"].but(size="16", width=2, batch=4, kimg=1000.0, **changes)
    looks, shown = [], []

    class Watched(Probe):
        def __call__(self, *given: Any) -> Any:
            looks.append(super().__call__(*given))
            return looks[-1]

    def watched(*given: Any) -> Any:
        found = extractor_named(*given)
        return found._replace(extract=lambda images: shown.append(len(images)) or found.extract(images))

    monkeypatch.setattr("hasama.runs.pace.Probe", Watched)
    monkeypatch.setattr("hasama.runs.pace.extractor_named", watched)
    cpu, there = torch.device("cpu"), open_pictures(str(pictures), recipe)
    assert measure(recipe, there, cpu, seconds=0.0).steps == 3
    assert (len(looks), shown) == (health, [seen] if seen else [])
    assert all("diversity" in figures for figures in looks)
    measure(recipe, there, cpu, seconds=0.0, looks=False)
    assert (len(looks), len(shown)) == (health, int(seen > 0))


def test_what_a_measurement_left_is_not_counted_with_the_next(pictures: Path, monkeypatch: pytest.MonkeyPatch):
    """As torch counts: freed memory stays reserved, and the peak begins with what is."""
    card = {"reserved": 20, "peak": 20}
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: card.update(reserved=0))
    monkeypatch.setattr(
        torch.cuda, "reset_peak_memory_stats", lambda device: card.update(peak=card["reserved"]), raising=False
    )
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: card["peak"])

    def trains(*given: Any) -> Any:
        card["peak"] = max(card["peak"], 3)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("hasama.runs.pace.new_game", trains)
    recipe, gpu = RECIPES["dcgan"].but(size="16", width=4), torch.device("cuda")
    with pytest.raises(torch.OutOfMemoryError):
        measure(recipe, open_pictures(str(pictures), recipe), gpu)
    assert peak_memory(gpu) == 3


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_preset_differs_from_itself_by_no_flags(name: str):
    assert flags_of_difference(RECIPES[name], RECIPES[name]) == []
