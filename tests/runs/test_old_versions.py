"""Files that version 0.1.0 wrote are still read: recipes, checkpoints, generators and logs, by their old names."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

import hasama as package
from command import hasama, refused
from hasama.errors import HasamaError
from hasama.fields import RENAMED as RENAMED_FIELDS
from hasama.generators.generator_file import load_generator
from hasama.generators.sampling import draw_latents, labels_for, synthesize, to_w
from hasama.networks.old_names import RENAMED, with_new_names
from hasama.networks.registry import ARCHITECTURES, build
from hasama.presets import RECIPES
from hasama.recipe import DEFAULTS, Recipe
from hasama.runs.autopilot import interventions, original_recipe
from hasama.runs.folder import Run
from hasama.runs.reports.diagnosis import diagnose
from hasama.runs.transfer import inherit
from hasama.training.setup import new_game

STORED = Path(__file__).parents[1] / "data" / "version-0.1.0.tar.xz"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folders that version 0.1.0 made of three steps on `digits`, one of each architecture."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(STORED) as archive:
        if hasattr(tarfile, "data_filter"):  # Python 3.11.4
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)
    return folder


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_generator_of_each_architecture_makes_the_pictures_that_it_made(old: Path, name: str):
    generator = load_generator(old / name / "generator.safetensors")
    latents, labels = draw_latents(0, 4, generator.latent_size), labels_for(generator, 4)
    with torch.no_grad():
        images = synthesize(generator, to_w(generator, latents, labels), labels).numpy()
    wanted = np.load(old / name / "expected.npy")
    assert np.ptp(wanted) > 1e-5
    np.testing.assert_allclose(
        images, wanted, atol=1e-6 + 1e-3 * np.ptp(wanted)
    )  # another processor may round another way


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_recipe_has_todays_names_and_the_old_values(old: Path, name: str):
    recipe = Run(old / name).recipe()
    written = json.loads((old / name / "recipe.json").read_text())["recipe"]
    assert set(written) & set(RENAMED_FIELDS) == set(RENAMED_FIELDS)
    for before, now in RENAMED_FIELDS.items():
        assert getattr(recipe, now) == written[before]
    assert recipe.health_kimg == 0.012
    if name == "dcgan":
        assert (recipe.balance, recipe.skip_above, recipe.held_out) == ("skip-strong", 0.8, 0.1)


@pytest.mark.parametrize("name", ["dcgan", "vae", "r3gan"])
def test_a_run_goes_on_where_it_stood(old: Path, tmp_path: Path, name: str):
    run = Run(shutil.copytree(old / name, tmp_path / name))
    assert run.images_seen() == 24
    saved = run.saved_game()
    recipe = run.recipe()
    game = new_game(build(recipe, 1, 10 if name == "dcgan" else 0), recipe)
    run.load_game(game)
    assert game.ema is not None
    for network, part in ((game.pair.generator, "generator"), (game.pair.discriminator, "discriminator"),
                          (game.ema, "average")):  # fmt: skip
        theirs = list(saved[part].values())
        assert [t.shape for t in network.state_dict().values()] == [t.shape for t in theirs]
        assert all(torch.equal(one, other) for one, other in zip(network.state_dict().values(), theirs, strict=True))
    steps = list(package.train("digits", recipe.but(kimg=0.032), run.folder))
    assert [step.images_seen for step in steps] == [28, 32]
    assert {"ema", "generator", "discriminator"} < set(run.saved_game())
    assert "average" not in run.saved_game()


def test_a_log_is_read_and_a_run_is_diagnosed(old: Path):
    for name in ("dcgan", "vae"):
        diagnosis = diagnose(Run(old / name))
        assert diagnosis.history.seen == 24
        assert "distance" in diagnosis.to_dict()["signals"]


def test_a_new_run_begins_with_an_old_ones_weights(old: Path):
    recipe = RECIPES["r3gan"].but(size="16", width=1, latent_size=4, batch=4)
    game = new_game(build(recipe, 1), recipe)
    told = inherit(game, old / "r3gan")
    assert told.fresh == []
    theirs = Run(old / "r3gan").saved_game()["generator"]
    assert torch.equal(game.pair.generator.get_parameter("to_rgb.weight"), theirs["paint.weight"])


def test_an_autopilots_record_is_read(old: Path, tmp_path: Path):
    run = Run(shutil.copytree(old / "dcgan", tmp_path / "dcgan"))
    recipe = json.loads((run.folder / "recipe.json").read_text())["recipe"]
    done = {"finding": "discriminator-wins", "found_at": 20, "back_to": 12, "changes": {"referee": "always"},
            "flags": "--referee always", "why": "", "done": False}  # fmt: skip
    run.autopilot_file.write_text(json.dumps({"recipe": recipe, "interventions": [done]}))
    assert original_recipe(run).balance == "skip-strong"
    changed = Recipe.from_dict(run.recipe().to_dict() | interventions(run)[0].changes)
    assert changed.balance == "always"


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "now"), RENAMED_FIELDS.items())
def test_the_command_takes_old_flags(tmp_path: Path, before: str, now: str):
    """With a value that is refused, by which the field is seen that it means."""
    assert now in DEFAULTS
    old_flag, new_flag = (f"--{name.replace('_', '-')}" for name in (before, now))
    value = {"held_out": "7", "health_kimg": "-1", "skip_above": "9", "balance": "x", "init_from": "no-such-run"}[now]
    for typed in ([old_flag, value], [f"{old_flag}={value}"]):
        refused(hasama("train", "digits", "dcgan", *typed, "--out", tmp_path / "run"), new_flag)


def test_fields_have_their_old_names_in_python_too():
    assert RECIPES["dcgan"].but(probe_kimg=2.0).health_kimg == 2.0
    with pytest.raises(HasamaError, match="There is no field"):
        RECIPES["dcgan"].but(opinion=1)


def test_public_names_that_changed_still_work_and_say_so():
    for before, now in (("Painter", "TrainedGenerator"), ("paint", "generate"), ("walk", "interpolate")):
        with pytest.warns(DeprecationWarning, match=now):
            assert getattr(package, before) is getattr(package, now)


def test_only_names_that_a_network_does_not_know_are_changed():
    state = {"judge.weight": 1, "inner.look.bias": 2, "judge.judge.weight": 3, "look": 4, "other": 5}
    known = ["logit.weight", "inner.from_rgb.bias", "head.logit.weight", "look"]
    assert with_new_names(state, known) == {
        "logit.weight": 1, "inner.from_rgb.bias": 2, "head.logit.weight": 3, "look": 4, "other": 5,
    }  # fmt: skip
    assert with_new_names({"look": 4}, ["look"]) == {"look": 4}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_network_has_an_old_name_today(name: str):
    pair = build(RECIPES[name].but(size="16", width=1, latent_size=4), 1)
    for network in (pair.generator, pair.discriminator):
        assert not {part for key in network.state_dict() for part in key.split(".")} & set(RENAMED)
