"""The quality curve is the metric of `evaluate`, leaves no trace, and keeps the best generator whatever happens."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hasama
from command import TINY, start
from command import hasama as command
from hasama.files import sha256_of
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import draw_latents, generate, generate_all
from hasama.health.quality import (
    FAKES,
    SEED,
    Quality,
    QualityProbe,
    clearly_better,
    keep_if_best,
    kept_quality,
    quality_interval,
)
from hasama.metrics.intervals import figures_of
from hasama.networks.registry import build
from hasama.perception.extractors import Extractor, extract_features
from hasama.pictures.dataset import Pictures

RECIPE = hasama.RECIPES["dcgan"].but(size="16", width=4, latent_size=8, batch=8, precision="fp32")


def small_extractor() -> Extractor:
    """Sixteen averages of places: a network that is read at once."""

    def extract(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 4).flatten(1)

    return Extractor("averages", "averages", 16, extract, torch.device("cpu"), 1, 64 * 64 * 64)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    rng = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("noise") / "noise.npz"
    smooth = rng.integers(0, 256, (600, 4, 4, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    np.savez(file, images=smooth)
    return hasama.open_pictures(str(file), RECIPE)


def a_generator(seed: int = 0) -> TrainedGenerator:
    recipe = RECIPE.but(seed=seed)
    return TrainedGenerator(build(recipe, 3).generator, recipe, recipe.latent_size, 3)


def test_it_is_evaluates_kid(pictures: Pictures):
    probe, generator = QualityProbe(pictures, small_extractor()), a_generator()
    quality = probe(generator, 5000)
    made = generate_all(generator, draw_latents(SEED, FAKES, generator.latent_size), None)
    fakes = torch.cat(list(extract_features(small_extractor(), made)))
    work = figures_of(probe.reals, fakes)
    try:
        while True:
            next(work)
    except StopIteration as end:
        kid = end.value["kid"]
    assert (quality.kid, quality.low, quality.high) == pytest.approx((kid.value, kid.low, kid.high), rel=1e-6)
    assert quality.images_seen == 5000
    assert kid.low < kid.value < kid.high


def test_classes_are_as_frequent_as_among_the_reals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Or a perfect generator of rare classes would look bad."""
    labels = np.arange(600) % 10 == 0
    values = np.random.default_rng(0).integers(0, 256, (600, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "set.npz", images=values, labels=labels.astype(np.int64))
    labelled = hasama.open_pictures(str(tmp_path / "set.npz"), RECIPE.but(labels=True))
    network = build(RECIPE.but(labels=True), 3, 2).generator
    generator = TrainedGenerator(network, RECIPE.but(labels=True), RECIPE.latent_size, 3, labelled.classes)
    asked = []
    monkeypatch.setattr("hasama.health.quality.generate", lambda *given: asked.append(given[2]) or generate(*given))
    QualityProbe(labelled, small_extractor())(generator, 8)
    assert len(asked[0]) == FAKES
    assert float(asked[0].float().mean()) == pytest.approx(0.1, abs=0.03)


def test_it_leaves_no_trace_and_says_the_same_again(pictures: Pictures):
    probe, generator = QualityProbe(pictures, small_extractor()), a_generator()
    state, before = torch.get_rng_state(), {k: v.clone() for k, v in generator.network.state_dict().items()}
    assert probe(generator, 1) == probe(generator, 1)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in generator.network.state_dict().items())
    assert generator.network.training


def test_a_generator_that_broke_down_is_infinitely_bad(pictures: Pictures):
    generator = a_generator()
    with torch.no_grad():
        next(generator.network.parameters()).fill_(float("nan"))
    extractor = small_extractor()._replace(extract=lambda images: torch.full((len(images), 16), torch.nan))
    probe = QualityProbe(pictures, small_extractor())
    probe.extractor = extractor
    assert probe(generator, 1).kid == float("inf")


def test_only_a_better_one_replaces_the_kept_one(tmp_path: Path):
    file = tmp_path / "best.safetensors"
    assert kept_quality(file) is None
    assert keep_if_best(a_generator(1), Quality(1000, 2.0, 1.5, 2.5), file)
    assert not keep_if_best(a_generator(2), Quality(2000, 2.0, 1.5, 2.5), file)
    assert kept_quality(file) == Quality(1000, 2.0, 1.5, 2.5)
    assert keep_if_best(a_generator(3), Quality(3000, 1.0, 0.9, 1.1), file)
    assert kept_quality(file) == Quality(3000, 1.0, 0.9, 1.1)
    loaded, wanted = hasama.load_generator(file), a_generator(3)
    assert all(torch.equal(v, wanted.network.state_dict()[k]) for k, v in loaded.network.state_dict().items())


@pytest.mark.parametrize("spoilt", [b"", b"\0" * 40, b"\x08\0\0\0\0\0\0\0nonsense"])
def test_a_damaged_file_is_no_hindrance(tmp_path: Path, spoilt: bytes):
    file = tmp_path / "best.safetensors"
    file.write_bytes(spoilt)
    assert kept_quality(file) is None
    assert keep_if_best(a_generator(), Quality(1000, 2.0, 1.5, 2.5), file)
    assert kept_quality(file) is not None


def line(seen: int, kid: float, apart: float) -> dict[str, Any]:
    return {"images_seen": seen, "kid": kid, "kid_low": kid - apart, "kid_high": kid + apart}


def test_clearly_better_is_when_the_intervals_do_not_meet(tmp_path: Path):
    file = tmp_path / "best.safetensors"
    assert clearly_better(file, [line(9000, 2.0, 0.1)]) is None
    keep_if_best(a_generator(), Quality(5000, 1.0, 0.9, 1.1), file)
    told = clearly_better(file, [line(5000, 1.0, 0.1), line(9000, 2.0, 0.1), {"images_seen": 9100}])
    assert told is not None
    assert "at 5 kimg" in told
    assert "at 9 kimg" in told
    assert clearly_better(file, [line(9000, 1.15, 0.1)]) is None  # perhaps chance
    assert clearly_better(file, [line(5000, 1.0, 0.1)]) is None  # it is the last
    assert clearly_better(file, []) is None


@pytest.mark.parametrize("architecture", ["dcgan", "dense", "r3gan", "stylegan", "progressive", "msg", "fast", "vae"])
def test_how_often_is_a_matter_of_arithmetic(architecture: str):
    recipe = hasama.RECIPES[architecture].but(size="32", kimg=10_000.0)
    extractor = small_extractor()
    every = quality_interval(recipe, 3, 0, extractor)
    assert every == quality_interval(recipe, 3, 0, extractor) >= recipe.images / 100
    assert quality_interval(recipe.but(quality_kimg=7.0), 3, 0, extractor) == 7000
    assert quality_interval(recipe.but(kimg=0.05), 3, 0, extractor) == 0  # too short to be worth a look
    labelled = quality_interval(
        recipe.but(labels=architecture != "vae"), 3, 0 if architecture == "vae" else 4, extractor
    )
    assert labelled > 0


def test_a_wider_network_is_looked_at_more_often():
    slow, fast = (
        quality_interval(hasama.RECIPES["r3gan"].but(size="32", width=w, kimg=20.0), 3, 0, a_larger_extractor())
        for w in (16, 4)
    )
    assert 200 < slow < fast


def test_a_second_discriminator_makes_a_step_dearer_so_that_there_can_be_more_looks():
    plain = hasama.RECIPES["r3gan"].but(size="16", kimg=20.0, quality_features="vgg19")
    aided = plain.but(vision_aid="efficientnet")
    rare, often = (quality_interval(recipe, 3, 0, a_larger_extractor()) for recipe in (plain, aided))
    assert 200 < often < rare


@pytest.mark.parametrize("architecture", ["r3gan", "msg"])
def test_what_enlarges_the_pictures_is_a_part_of_a_look(architecture: str):
    """And not of a step: the game is that of the small pictures."""
    game = hasama.RECIPES[architecture].but(size="16", kimg=20.0)
    alone, enlarged = (
        quality_interval(recipe, 3, 0, small_extractor()) for recipe in (game, game.but(size="32", enlarge=2))
    )
    assert enlarged > 2 * alone


def a_larger_extractor() -> Extractor:
    weight = torch.randn(64, 3, 7, 7)

    def extract(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(images, weight, padding=3).mean((2, 3))

    return small_extractor()._replace(extract=extract, width=64)


# --- in a run ---------------------------------------------------------------------------------------

TRAIN = [*("--size", "16", "--width", "4", "--latent-size", "8", "--batch", "16", "--precision", "fp32"),
         *("--sample-kimg", "100", "--quality-kimg", "0.5", "--threads", "1", "--health-kimg", "0")]  # fmt: skip


def looks(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(text) for text in (run / "log.jsonl").read_text().splitlines()]
    return [found for found in lines if "kid" in found]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", images=rng.integers(0, 256, (100, 16, 16, 3), np.uint8))
    return tmp_path / "noise.npz"


@pytest.mark.slow
def test_a_kill_does_not_cost_the_best_generator(tmp_path: Path, source: Path):
    """Killed with SIGKILL and resumed, it has the looks and the best generator of the run that was not killed."""
    words = ["train", str(source), "dcgan", *TRAIN, "--kimg", "1.0", "--checkpoint-minutes", "0"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert command(*words, "--out", whole).returncode == 0
    process = start(*words, "--out", killed, stdout=os.devnull)
    until = time.monotonic() + 120
    while not (killed / "best.safetensors").exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert kept_quality(killed / "best.safetensors") is not None
    hasama.load_generator(killed / "best.safetensors")
    assert command("resume", killed).returncode == 0
    shown = ("images_seen", "kid", "kid_low", "kid_high")
    assert [[look[n] for n in shown] for look in looks(killed)] == [[look[n] for n in shown] for look in looks(whole)]
    assert len(looks(whole)) == 2
    assert (killed / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()
    best = kept_quality(whole / "best.safetensors")
    assert best is not None
    assert best.kid == pytest.approx(min(look["kid"] for look in looks(whole)), rel=1e-5)


def test_the_command_takes_the_best_one_and_says_so(tmp_path: Path, source: Path):
    run = tmp_path / "run"
    done = command("train", source, "dcgan", *TINY, "--kimg", "0.1", "--out", run)
    assert done.returncode == 0, done.stderr
    assert not (run / "best.safetensors").exists()
    other = TrainedGenerator(build(RECIPE.but(seed=7), 3).generator, RECIPE, RECIPE.latent_size, 3)
    keep_if_best(other, Quality(50, 1.0, 0.9, 1.1), run / "best.safetensors")
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps(line(112, 1.05, 0.1)) + "\n")

    def sampled(place: Path) -> tuple[str, bytes]:
        done = command("sample", place, "--count", "4", "--out", tmp_path / "s.png")
        assert done.returncode == 0, done.stderr
        return done.stdout, (tmp_path / "s.png").read_bytes()

    told, of_last = sampled(run)
    assert "best" not in told  # it may be chance
    assert of_last == sampled(run / "generator.safetensors")[1]
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps(line(112, 2.0, 0.1)) + "\n")
    told, of_best = sampled(run)
    assert "Taking the best generator of this run, KID 1 " in told
    assert str(run / "generator.safetensors") in told
    assert of_best == sampled(run / "best.safetensors")[1] != of_last
    _shared_and_judged(run, tmp_path / "shared")

    (run / "best.safetensors").write_bytes(b"no longer")
    told, again = sampled(run)
    assert "best generator of this run cannot be read" in " ".join(told.split())
    assert again == of_last


def _shared_and_judged(run: Path, out: Path) -> None:
    """What is shared and what is judged is what is sampled, in every file and figure."""
    done = command("evaluate", run, "--features", "efficientnet", "--json")
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)["origin"]["generator"]
    assert (best["sha256"], best["images_seen"]) == (sha256_of(run / "best.safetensors"), 50)
    assert best["best"].startswith("KID 1 ")
    assert "of the best generator of this run, KID 1 " in " ".join(
        command("evaluate", run, "--features", "efficientnet").stdout.split()
    )
    done = command("export", run, "--safetensors", "--out", out)
    assert done.returncode == 0, done.stderr
    assert (out / "generator.safetensors").read_bytes() == (run / "best.safetensors").read_bytes()
    card = (out / "README.md").read_text()
    assert "| trained for | 0.05 kimg " in card
    assert "- kid: " in card
    assert "of the generator at" not in card
    assert "of another generator" not in card


def test_of_one_picture_there_is_no_quality(tmp_path: Path):
    """And the training goes on without."""
    (tmp_path / "one").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / "one" / "a.png")
    done = command("train", tmp_path / "one", "dcgan", *TRAIN, "--kimg", "1.1", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert not looks(tmp_path / "run")
