"""How much memory a painting takes, and how large a window a budget allows."""

import json
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from command import HASAMA, SECONDS
from easel import style_scene
from hasama.device import free_memory, peak_bytes
from hasama.errors import HasamaError
from hasama.style import memory
from hasama.style.canvas.pictures import Picture
from hasama.style.memory import (
    bank_bytes,
    default_budget,
    fixed_bytes,
    in_words,
    parse_memory,
    pick_window,
    process_bytes,
    unasked_budget,
    window_bytes,
)
from hasama.style.painting import Machine, plan
from hasama.style.recipe import STYLE_RECIPES, StyleRecipe
from hasama.style.subject import Style

BEST = StyleRecipe(optimizer="adam")
QUICK = StyleRecipe(style_layers="relu1_1,relu2_1", content_layers="relu2_1")  # lbfgs, adam beyond a megapixel
LBFGS = StyleRecipe(optimizer="lbfgs")

recipes = st.sampled_from([BEST, QUICK, LBFGS, StyleRecipe(optimizer="gradient-descent", average=0.0)])
sides = st.integers(1, 2000)
bytes_per_number = st.sampled_from([2, 4])
budgets = st.integers(500_000_000, 12_000_000_000)
SMALLEST = 3 * 160  # a halo of 148 pixels for relu5_1, rounded up to its stride, on both sides of as much


def steady():
    """The process's own size changes while the test runs; here it stands still."""
    return patch.object(memory, "process_bytes", lambda: 400_000_000)


def estimate(height: int, width: int, side: int, recipe: StyleRecipe, number: int) -> int:
    return fixed_bytes(height, width, recipe, number) + window_bytes(height, width, side, number)


def window(height: int, width: int, recipe: StyleRecipe, number: int, budget: int) -> int | None:
    """None where nothing fits."""
    try:
        return pick_window(height, width, recipe, number, "vgg19", budget)
    except HasamaError:
        return None


# --- words and numbers ----------------------------------------------------------------------------

UNITS = {
    "": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4,
    "ki": 1024, "mi": 1024**2, "gi": 1024**3, "ti": 1024**4,
}  # fmt: skip


@given(
    st.integers(1, 10**6), st.sampled_from(list(UNITS)), st.sampled_from(["", "b", "B"]), st.sampled_from(["", " "])
)
@settings(max_examples=25)
def test_amounts_of_memory_are_read_in_every_unit(number: int, unit: str, byte: str, space: str):
    for text in (f"{number}{space}{unit}{byte}", f" {number}{unit.upper()}{byte} "):
        assert parse_memory(text) == number * UNITS[unit]


@pytest.mark.parametrize(
    ("text", "wanted"), [("2GB", 2 * 10**9), ("1.5GiB", 3 * 2**29), ("800MB", 8 * 10**8), ("0.5 gb", 5 * 10**8)]
)
def test_these_amounts_are_so_many_bytes(text: str, wanted: int):
    assert parse_memory(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GB",
        "-2GB",
        "0",
        "0.0GB",
        "2 giga",
        "2GBB",
        "1e9",
        "nan",
        "inf",
        "2,5GB",
        "2..5GB",
        ".GB",
        "2 G B",
        "٣GB½",
    ],
)
def test_other_texts_are_refused_with_the_flag_and_themselves(text: str):
    with pytest.raises(HasamaError, match="--memory") as caught:
        parse_memory(text)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=8))
@settings(max_examples=25)
def test_any_text_is_an_amount_or_a_refusal(text: str):
    try:
        assert parse_memory(text) >= 0
    except HasamaError as error:
        assert "--memory" in str(error)  # noqa: PT017 (either way is right)


def test_bytes_are_told_in_words():
    assert in_words(1.84e9) == "1.8 GB"
    assert in_words(999.4e6) == "999 MB"
    assert in_words(800e6) == "800 MB"


# --- windows --------------------------------------------------------------------------------------


@given(sides, sides, recipes, bytes_per_number, budgets)
@settings(max_examples=25)
def test_a_window_keeps_to_the_budget(height: int, width: int, recipe: StyleRecipe, number: int, budget: int):
    with steady():
        side = window(height, width, recipe, number, budget)
        if side is None:
            return
        assert 1 <= side <= memory.LARGEST_WINDOW
        assert estimate(height, width, side, recipe, number) <= budget


@given(sides, sides, recipes, bytes_per_number, budgets, st.integers(0, 4_000_000_000))
@settings(max_examples=25)
def test_more_memory_never_makes_the_window_smaller(
    height: int, width: int, recipe: StyleRecipe, number: int, budget: int, more: int
):
    with steady():
        little, much = (window(height, width, recipe, number, one) for one in (budget, budget + more))
    assert little is None or (much is not None and much >= little)


@given(sides, sides, bytes_per_number)
@settings(max_examples=20)
def test_with_enough_memory_a_small_picture_goes_through_in_one_piece(height: int, width: int, number: int):
    side = pick_window(height, width, BEST, number, "vgg19", 10**12)
    assert side == min(max(height, width), memory.LARGEST_WINDOW)


@given(st.integers(200, 3000), st.integers(200, 3000), recipes, bytes_per_number)
@settings(max_examples=25)
def test_one_step_more_would_not_fit(height: int, width: int, recipe: StyleRecipe, number: int):
    with steady():
        budget = estimate(height, width, 700, recipe, number)
        side = pick_window(height, width, recipe, number, "vgg19", budget)
        larger = side + 16
        fits_more = estimate(height, width, larger, recipe, number) <= budget
        assert not fits_more or larger > min(max(height, width), memory.LARGEST_WINDOW)


@given(st.integers(200, 1500), st.integers(200, 1500), recipes, bytes_per_number, st.floats(0.05, 0.99))
@example(200, 1018, BEST, 4, 0.515625)
@settings(max_examples=15)
def test_what_does_not_fit_is_refused_with_an_estimate_and_a_size_that_fits(
    height: int, width: int, recipe: StyleRecipe, number: int, share: float
):
    with steady():
        nothing = fixed_bytes(1, 1, recipe, number)
        whole = estimate(height, width, SMALLEST, recipe, number)
        budget = round(nothing + share * (whole - nothing))
        try:
            pick_window(height, width, recipe, number, "vgg19", budget)
        except HasamaError as error:
            message = str(error)
        else:
            return
        told = re.search(r"needs about ([\d.]+) (GB|MB)", message)
        assert told, message
        needs = parse_memory(told[1] + told[2])
        assert budget < needs * 1.1
        assert pick_window(height, width, recipe, number, "vgg19", round(needs * 1.1)) > 0
        assert in_words(budget) in message
        assert "--memory" in message
        offered = re.search(r"--size (\d+) would fit", message)
        if offered:
            size = int(offered[1])
            assert size <= max(height, width)
            longer = max(height, width)  # as the canvas is measured, see transfer.Subject.sizes
            high, wide = max(1, round(height * size / longer)), max(1, round(width * size / longer))
            assert pick_window(high, wide, recipe, number, "vgg19", budget) > 0


@given(st.integers(64, 600), st.integers(300, 600))
@example(64, 560)
@settings(max_examples=10)
def test_the_size_that_is_offered_fits_even_where_there_is_nothing_to_spare(height: int, size: int):
    """The canvas's shorter side is rounded, not cut; half a row more must not make the offer a lie."""
    recipe, number, width = QUICK.but(optimizer="adam"), 4, 1200
    size -= (size - width) % 16  # the sides that are tried
    halo = 3 * 8
    with steady():
        floor = max(1, height * size // width)
        budget = estimate(floor, size, halo, recipe, number)
        with pytest.raises(HasamaError) as caught:
            pick_window(height, width, recipe, number, "vgg19", budget)
        offered = re.search(r"--size (\d+) would fit", str(caught.value))
        assert offered, str(caught.value)
        side = int(offered[1])
        assert pick_window(max(1, round(height * side / width)), side, recipe, number, "vgg19", budget) > 0


def test_nothing_fits_into_nothing():
    with pytest.raises(HasamaError, match="--memory") as caught:
        pick_window(512, 512, BEST, 4, "vgg19", 1)
    assert "--size" not in str(caught.value)


def test_lbfgs_is_told_that_adam_takes_less():
    with steady():
        budget = estimate(2000, 2000, SMALLEST, BEST, 4)  # what Adam would take
        with pytest.raises(HasamaError, match="--optimizer adam"):
            pick_window(2000, 2000, LBFGS, 4, "vgg19", budget)
        with pytest.raises(HasamaError) as caught:
            pick_window(4000, 4000, BEST, 4, "vgg19", budget)
    assert "--optimizer" not in str(caught.value)


def test_what_takes_more_is_estimated_to_take_more():
    with steady():
        plain = fixed_bytes(800, 600, BEST, 4)
        assert fixed_bytes(800, 600, LBFGS, 4) > plain
        assert fixed_bytes(800, 600, BEST.but(average=0.0), 4) == plain - 800 * 600 * 12
        assert fixed_bytes(800, 600, BEST, 2) < plain  # the wanted content in bfloat16
        assert fixed_bytes(800, 600, BEST.but(content_weight=0.0), 4) == plain - 800 * 600 * 512 * 4 // 64
        assert window_bytes(800, 600, 100, 4) > window_bytes(800, 600, 100, 2)


def test_large_strokes_are_counted():
    """A style picture is made `style_scale` times as large as the canvas: 12 bytes for each of its pixels."""
    with steady():
        more = fixed_bytes(800, 600, BEST.but(style_scale=10.0), 4) - fixed_bytes(800, 600, BEST, 4)
    assert more >= 0.9 * (10.0**2 - 1) * 800 * 600 * 12


def test_the_budget_holds_at_every_scale():
    """Left to itself, a recipe paints with L-BFGS up to a megapixel, and the last scale may well need less."""
    content, style = (Picture(np.zeros((side, side, 3), np.uint8)) for side in (1100, 64))
    recipe = QUICK.but(size=0, precision="fp32")
    with steady():
        budget = 1_500_000_000
        subject = plan(content, [Style(style)], recipe, Machine("cpu", budget))
        sizes = subject.sizes()
        assert {recipe.optimizer_at(*size) for size in sizes} == {"lbfgs", "adam"}
        for height, width in sizes:
            assert estimate(height, width, subject.side, recipe, 4) <= budget


# --- the machine ----------------------------------------------------------------------------------


def test_this_process_takes_what_the_system_says():
    assert process_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
    assert process_bytes() <= 1.1 * peak_bytes()


def test_the_peak_is_not_that_of_who_started_the_process():
    block = bytearray(b"1") * 600_000_000
    code = "from hasama.device import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) < len(block) < peak_bytes()


def test_the_peak_remembers_what_was_given_back():
    code = (
        "from hasama.device import peak_bytes\nfrom hasama.style.memory import process_bytes\n"
        "block = bytearray(b'1') * 500_000_000; most = process_bytes(); del block\n"
        "print(peak_bytes() - most, most - process_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    above, given_back = map(int, done.stdout.split())
    assert above > -1_000_000  # the kernel counts in batches of pages
    assert given_back > 400_000_000


def test_free_memory_is_part_of_what_there_is():
    free = free_memory()
    assert free is not None
    assert 0 < free <= psutil.virtual_memory().total


def test_the_default_budget_leaves_something_to_others():
    budget, free, own = default_budget(torch.device("cpu")), free_memory(), process_bytes()
    assert free is not None
    assert own < budget < own + 0.9 * free


def test_neighbour_needs_more_and_gets_smaller_windows():
    best, neighbour = STYLE_RECIPES["best"], STYLE_RECIPES["neighbour"]
    more = fixed_bytes(512, 512, neighbour, 4) - fixed_bytes(512, 512, best.but(optimizer="lbfgs"), 4)
    bank = 2_688 * 32_768 * 4  # channels of its layers, hypercolumns, float32
    assert bank * 0.9 < more < bank * 1.8
    budget = 2_500_000_000 + process_bytes()
    sides = [pick_window(1024, 1024, recipe, 4, "vgg19", budget) for recipe in (best, neighbour)]
    assert sides[1] < 0.8 * sides[0]


def test_a_small_picture_has_few_places_to_be_compared_with():
    neighbour = STYLE_RECIPES["neighbour"]
    channels = 2 * 64 + 2 * 128 + 3 * 256 + 3 * 512  # of its layers
    assert bank_bytes(32, 48, neighbour, 2) < 0.04 * bank_bytes(2000, 2000, neighbour, 2)
    assert bank_bytes(2000, 2000, neighbour, 2) == channels * max(32_768 * 2, 16_384 * 4)
    assert bank_bytes(2000, 2000, neighbour, 2, styles=3) == bank_bytes(2000, 2000, neighbour, 2)  # shared
    assert bank_bytes(2000, 2000, neighbour, 2, 3, masked=True) == 3 * bank_bytes(2000, 2000, neighbour, 2)
    small = bank_bytes(32, 32, neighbour, 4)
    assert bank_bytes(32, 32, neighbour, 4, styles=2) == pytest.approx(2 * small, rel=0.01)
    assert bank_bytes(32, 32, neighbour.but(rotations=False), 4) == pytest.approx(small / 4, rel=0.01)
    assert bank_bytes(32, 32, neighbour.but(style_scale=0.5), 4) == pytest.approx(small / 4, rel=0.01)


@pytest.mark.parametrize("name", ["best", "neighbour"])
def test_what_is_told_to_fit_does(name: str):
    """The size that was asked for is told, not that of an earlier scale; so much memory is enough, and so is the
    size that is offered.
    """
    recipe = STYLE_RECIPES[name].but(size=1280, precision="fp32")
    content = Picture(np.zeros((1280, 960, 3), np.uint8))

    def refusal(recipe: StyleRecipe, budget: int) -> str:
        try:
            plan(content, [Style(content)], recipe, Machine("cpu", budget))
        except HasamaError as error:
            return str(error)
        return ""

    with steady():
        told = re.search(r"Painting 960x1280 pixels .* needs about ([\d.]+ .B),", refusal(recipe, 300_000_000))
        assert told is not None
        assert not refusal(recipe, parse_memory(told[1]))
        for budget in (900_000_000, 1_500_000_000):
            less = refusal(recipe, budget)
            offered = re.search(r"--size (\d+) would fit", less)
            assert offered is not None or not less
            if offered:
                assert not refusal(recipe.but(size=int(offered[1])), budget)


@given(st.integers(16, 6000), st.integers(16, 6000), bytes_per_number)
@settings(max_examples=25, deadline=None)
def test_neighbour_is_modest_unasked_and_refuses_nothing(height: int, width: int, number: int):
    best, neighbour = STYLE_RECIPES["best"], STYLE_RECIPES["neighbour"]
    cpu, much = torch.device("cpu"), 500 * 10**9
    with steady(), patch.object(memory, "default_budget", lambda _: much):
        assert unasked_budget(cpu, height, width, best, number) == much
        budget = unasked_budget(cpu, height, width, neighbour, number)
        assert budget < fixed_bytes(height, width, neighbour, number) + 2 * 10**9
        assert pick_window(height, width, neighbour, number, "vgg19", budget) >= min(256, height, width)
    with steady(), patch.object(memory, "default_budget", lambda _: 10**9):
        assert unasked_budget(cpu, height, width, neighbour, number) == 10**9


@pytest.mark.slow
def test_neighbour_paints_512_pixels_within_two_gigabytes(tmp_path: Path):
    """Unasked; its steps are few, but each of them takes what all take."""
    style_scene(512, 512).save(tmp_path / "c.png")
    style_scene(400, 300, 1).save(tmp_path / "s.png")
    words = ("style", "c.png", "s.png", "--recipe", "neighbour", "--threads", "1", "--out", "o.png")
    few = ("--size", "512", "--iterations", "2", "--first-iterations", "2")
    done = subprocess.run([*HASAMA, *words, *few], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "o.png.json").read_text())["peak_memory_mib"] * 2**20 < 2 * 10**9


@given(sides, sides, st.sampled_from([2, 4]))
@settings(max_examples=25)
def test_what_paints_at_once_needs_less_and_masks_need_more(height: int, width: int, number: int):
    best, instant = STYLE_RECIPES["best"], STYLE_RECIPES["instant"]
    sides = (window_bytes(height, width, 512, number, recipe) for recipe in (instant, best))
    assert next(sides) < 0.4 * next(sides)
    assert window_bytes(height, width, 512, number, instant, True) > window_bytes(height, width, 512, number, instant)
    assert window_bytes(height, width, 512, number, best, True) == window_bytes(height, width, 512, number, best)


@pytest.mark.slow
def test_instant_with_masks_keeps_to_its_memory(tmp_path: Path):
    """In a process of its own: its peak is the whole process's."""
    style_scene(600, 450).save(tmp_path / "c.png")
    style_scene(200, 150, 1).save(tmp_path / "s.png")
    half = np.zeros((450, 600), np.uint8)
    half[:, :300] = 255
    Image.fromarray(half).save(tmp_path / "left.png")
    words = (
        "style",
        tmp_path / "c.png",
        tmp_path / "s.png",
        tmp_path / "s.png",
        "--recipe",
        "instant",
        "--threads",
        1,
    )
    masks = ("--where", tmp_path / "left.png", "--where", "none")
    budget = 620 * 10**6
    more = ("--size", 600, "--memory", budget, "--out", tmp_path / "o.png")
    asked = [*HASAMA, *map(str, (*words, *masks, *more))]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "o.png.json").read_text())
    assert told["peak_memory_mib"] * 2**20 < budget


@pytest.mark.parametrize("alpha", [False, True])
def test_a_gigantic_picture_needs_memory_to_be_made_smaller(alpha: bool):
    side = 8000
    pixels = np.broadcast_to(np.uint8(9), (side, side, 3))
    large = Picture(pixels, np.broadcast_to(np.uint8(99), (side, side)) if alpha else None)
    small = Picture(pixels[:10, :10])
    needed = 400_000_000 + side**2 * (16 if alpha else 8)
    with steady():
        memory.check_sources([small, large], needed)
        memory.check_sources([small], 401_000_000)
        with pytest.raises(HasamaError, match=r"8000x8000 pixels smaller takes about .* Give it more \(--memory\)"):
            memory.check_sources([small, large], needed - 1)
