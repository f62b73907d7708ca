"""--init-from and --freeze-d: which weights pass on to another run, and which stay as they were."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from command import TINY, hasama, refused
from hasama.errors import HasamaError
from hasama.networks.registry import build
from hasama.pictures.dataset import Batch
from hasama.presets import RECIPES
from hasama.recipe import Recipe
from hasama.runs.folder import Run
from hasama.runs.transfer import beginning, check_init_from, inherit
from hasama.shapes import largest
from hasama.training.setup import freeze_first, new_game
from hasama.training.turns import play

GROWING = ["progressive", "msg", "stylegan", "r3gan", "fast"]


def recipe_of(name: str, size: str, **changes) -> Recipe:
    return RECIPES[name].but(size=size, width=4, latent_size=4, batch=4, precision="fp32", **changes)


def trained(tmp_path: Path, name: str, size: str = "8", **changes) -> Run:
    """A run folder with what `inherit` reads: a recipe and a checkpoint after two steps."""
    recipe = recipe_of(name, size, **changes)
    game = new_game(build(recipe, 3), recipe)
    side = recipe.resolution[0]
    list(play(game, iter([torch.rand(4, 3, side, side)] * 2)))
    run = Run(tmp_path / name)
    run.folder.mkdir(parents=True)
    run.save_recipe(recipe)
    run.save_game(game)
    return run


@pytest.mark.parametrize("name", [*GROWING, "dcgan", "dense"])
def test_the_same_size_takes_everything(tmp_path: Path, name: str):
    run = trained(tmp_path, name)
    recipe = recipe_of(name, "8", seed=5)
    game = new_game(build(recipe, 3), recipe)
    report = inherit(game, run.folder)
    assert report.fresh == []
    theirs = torch.load(run.checkpoint, weights_only=True)["game"]
    for key, tensor in game.pair.generator.state_dict().items():
        assert torch.equal(tensor, theirs["generator"][key]) or key in ("growth.images_seen", "mean_path"), key
    assert game.images_seen == 0
    assert not game.optimizers.generator.state_dict()["state"]  # the optimizers begin anew


def test_the_ema_generator_begins_with_the_other_runs_ema_generator(tmp_path: Path):
    run = trained(tmp_path, "dcgan")
    theirs = torch.load(run.checkpoint, weights_only=True)["game"]
    old = {  # a checkpoint of version 0.1.0
        "game": {("average" if name == "ema" else name): part for name, part in theirs.items()},
    }
    old["game"]["generator"] = {name.replace("to_rgb", "paint"): w for name, w in theirs["generator"].items()}
    for checkpoint in (None, old):
        if checkpoint is not None:
            torch.save(checkpoint, run.checkpoint)
        game = new_game(build(recipe_of("dcgan", "8", seed=5), 3), recipe_of("dcgan", "8", seed=5))
        assert inherit(game, run.folder).fresh == []
        assert game.ema is not None
        key = "to_rgb.weight"
        assert torch.equal(game.ema.state_dict()[key], theirs["ema"][key])
        assert torch.equal(game.pair.generator.state_dict()[key], theirs["generator"][key])
        assert not torch.equal(theirs["ema"][key], theirs["generator"][key])


@pytest.mark.parametrize("name", GROWING)
def test_a_larger_size_takes_all_the_layers_that_both_have(tmp_path: Path, name: str):
    run = trained(tmp_path, name)
    recipe = recipe_of(name, "16", seed=5)
    game = new_game(build(recipe, 3), recipe)
    report = inherit(game, run.folder)
    assert report.fresh  # the layers next to the larger picture
    stages = [key for key in report.taken if "discriminator.stages.level" in key or "generator.s" in key]
    assert stages
    list(play(game, iter([torch.rand(4, 3, 16, 16)])))


def test_augmentation_and_spectral_norm_do_not_hide_the_names(tmp_path: Path):
    run = trained(tmp_path, "r3gan", augment="ada", spectral_norm=True)
    recipe = recipe_of("r3gan", "8", seed=5)
    game = new_game(build(recipe, 3), recipe)
    assert inherit(game, run.folder).fresh == []
    wrapped = recipe_of("r3gan", "8", seed=6, augment="diffaugment", spectral_norm=True)
    other = new_game(build(wrapped, 3), wrapped)
    inherit(other, run.folder)
    theirs = torch.load(run.checkpoint, weights_only=True)["game"]["discriminator"]
    key = "from_rgb.parametrizations.weight.original"
    assert torch.equal(other.bare_discriminator.state_dict()[key], theirs[f"discriminator.{key}"])


@pytest.mark.parametrize("name", ["dcgan", *GROWING])
def test_frozen_layers_do_not_move_and_the_others_do(name: str):
    recipe = recipe_of(name, "8", freeze_d=1, **({"grow_kimg": 0.0} if name == "progressive" else {}))
    game = new_game(build(recipe, 3), recipe)
    network = game.bare_discriminator
    frozen = [key for key, p in network.named_parameters() if not p.requires_grad]
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    list(play(game, iter([torch.rand(4, 3, 8, 8)] * 2)))
    moved = [key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])]
    assert frozen
    assert not set(frozen) & set(moved)
    assert moved
    assert all(not network.get_parameter(key).requires_grad for key in frozen)  # the generator's turn thaws nothing


def test_freezing_all_is_refused():
    with pytest.raises(HasamaError, match=r"--freeze-d 99: .* one must learn"):
        freeze_first(build(recipe_of("dcgan", "8"), 3).discriminator, 99)


def test_what_does_not_fit_is_refused_before_any_work(tmp_path: Path):
    run = trained(tmp_path, "msg", "16")
    with pytest.raises(HasamaError, match="trains msg, not r3gan"):
        check_init_from(recipe_of("r3gan", "16", init_from=str(run.folder)))
    with pytest.raises(HasamaError, match="makes 16, and this one would make 8"):
        check_init_from(recipe_of("msg", "8", init_from=str(run.folder)))
    with pytest.raises(HasamaError, match=r"--init-from .*: there is no run"):
        check_init_from(recipe_of("msg", "8", init_from=str(tmp_path / "nothing")))
    run.checkpoint.write_bytes(b"nonsense")
    recipe = recipe_of("msg", "16", init_from=str(run.folder))
    with pytest.raises(HasamaError, match="damaged"):
        inherit(new_game(build(recipe, 3), recipe), run.folder)
    run.checkpoint.unlink()
    with pytest.raises(HasamaError, match=r"no checkpoint \(game.pt\) yet"):
        check_init_from(recipe_of("msg", "16", init_from=str(run.folder)))


def test_the_command_begins_with_another_runs_weights(pictures: Path, tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    done = hasama("train", pictures, "r3gan", *TINY, "--kimg", "0.1", "--out", first)
    assert done.returncode == 0, done.stderr
    more = ["--init-from", first, "--freeze-d", 2, "--augment", "ada", "--kimg", "0.1", "--out", second]
    command = ["train", pictures, "r3gan", "--size", "32", *TINY[2:], *more]
    done = hasama(*command)
    assert done.returncode == 0, done.stderr
    assert "begins with the weights of" in done.stdout
    told = json.loads((second / "inherited.json").read_text())
    assert told["taken"]
    assert told["fresh"]
    again = hasama(*command)  # the same command again goes on with it
    assert "already has its" in again.stdout, again.stderr
    refused(
        hasama("train", pictures, "msg", *TINY, "--init-from", first, "--out", tmp_path / "no"),
        "r3gan",
        "--init-from",
    )
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["r3gan", "--size", "64", "--width", "8"], ["--init-from portraits: none of its weights", "--width"]),
        (["dcgan", "--size", "64"], ["trains r3gan, not dcgan", "r3gan --init-from portraits"]),
        (
            ["r3gan", "--size", "32"],
            ["--init-from portraits: that run makes 64, and this one would make 32: w"],
        ),
        (["--size", "64", "--enlarge", "2"], ["would make 32 (the small pictures of --enlarge)"]),
    ],
)
def test_what_a_base_cannot_begin_leaves_no_folder(
    flags: list[str], words: list[str], pictures: Path, tmp_path: Path
):
    """And the base is called by its name."""
    out = tmp_path / "run"
    done = hasama("train", pictures, *flags, "--init-from", "portraits", "--kimg", "0.016", "--out", out)
    refused(done, *words)
    assert not out.exists()


def test_heads_begin_with_the_other_runs_heads_if_it_has_some(tmp_path: Path):
    run = trained(tmp_path, "r3gan", vision_aid="efficientnet")
    recipe = recipe_of("r3gan", "16", seed=5, vision_aid="efficientnet")
    game = new_game(build(recipe, 3), recipe)
    report = inherit(game, run.folder)
    theirs = torch.load(run.checkpoint, weights_only=True)["game"]["heads"]
    assert game.aid is not None
    for name, tensor in game.aid.heads.state_dict().items():  # but what was observed of the other pictures is not
        assert torch.equal(tensor, theirs[name]) != name.startswith("standards."), name
    assert "heads.heads.0.narrow.weight" in report.taken
    plain = trained(tmp_path / "plain", "dcgan")
    recipe = recipe_of("dcgan", "8", seed=5, vision_aid="efficientnet")
    game = new_game(build(recipe, 3), recipe)
    assert not any(name.startswith("heads") for name in inherit(game, plain.folder).taken)


def test_heads_alone_are_not_enough_to_begin_with(tmp_path: Path):
    run = trained(tmp_path, "r3gan", vision_aid="efficientnet")
    recipe = recipe_of("r3gan", "16", seed=5, vision_aid="efficientnet").but(width=3, latent_size=5)
    with pytest.raises(HasamaError, match="none of its weights fits"):
        inherit(new_game(build(recipe, 3), recipe), run.folder)


@pytest.mark.parametrize("changes", [
    {"generator_width": 7}, {"width": 6, "generator_width": 9, "labels": True},
    {"resampling": "filtered", "width": 5}, {"group_width": 8, "width": 8},
    {"self_modulation": True, "generator_width": 5, "labels": True},
])  # fmt: skip
def test_a_narrow_r3gan_lives_on_within_a_wider_one(tmp_path: Path, changes: dict):
    fixed = {name: changes[name] for name in ("resampling", "group_width", "self_modulation") if name in changes}
    run = trained(tmp_path, "r3gan", "16", pixel_noise=True, **{"group_width": 1} | fixed)
    recipe = run.recipe().but(seed=5, **changes)
    classes = 3 if recipe.labels else 0
    game = new_game(build(recipe, 3, classes), recipe)
    report = inherit(game, run.folder)
    assert not [name for name in report.fresh if "embedding" not in name]
    old = new_game(build(run.recipe(), 3), run.recipe())
    run.load_game(old)
    latents, images = torch.randn(3, 4), torch.rand(3, 3, 16, 16)
    labels = torch.tensor([0, 1, 2]) if classes else None
    for ours, theirs, seen in (
        (game.pair.generator, old.pair.generator, latents),
        (game.ema, old.ema, latents),
        (game.bare_discriminator, old.bare_discriminator, images),
    ):
        assert ours is not None
        assert theirs is not None
        with torch.no_grad():
            torch.testing.assert_close(ours.eval()(seen, labels), theirs.eval()(seen), rtol=1e-4, atol=1e-5)
    before = {name: one.clone() for name, one in game.pair.generator.named_parameters()}
    batch = Batch(images[:2].repeat(2, 1, 1, 1), None if labels is None else labels[[0, 1, 0, 1]])
    list(play(game, iter([batch] * 2)))
    for name, now in game.pair.generator.named_parameters():
        assert not torch.equal(now, before[name]), name  # all of it learns


@pytest.mark.parametrize("architecture", ["dcgan", "stylegan", "progressive"])
def test_at_first_a_label_counts_for_nothing(architecture: str, tmp_path: Path):
    run = trained(tmp_path, architecture, "16")
    recipe = run.recipe().but(seed=5, labels=True)
    game = new_game(build(recipe, 3, 3), recipe)
    report = inherit(game, run.folder)
    assert not [name for name in report.fresh if "embedding" not in name]
    old = new_game(build(run.recipe(), 3), run.recipe())
    run.load_game(old)
    latents = F.normalize(torch.randn(3, recipe.latent_size)) * recipe.latent_size**0.5
    ours, theirs = game.pair.generator.eval(), old.pair.generator.eval()
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            if "embedding" in name:  # as long as a latent, which it is normalised with
                weight.copy_(F.normalize(weight) * recipe.latent_size**0.5)
        made = [largest(network(latents, *given)) for network, given in ((ours, [torch.arange(3)]), (theirs, []))]
    torch.testing.assert_close(*made, rtol=1e-3, atol=1e-4)


def lives_on(run: Run, **changes: Any) -> list[str]:
    """What begins anew in a run with these changes, which begins with the other and at first makes its pictures."""
    recipe = run.recipe().but(seed=5, **changes)
    game, old = new_game(build(recipe, 3), recipe), new_game(build(run.recipe(), 3), run.recipe())
    fresh, latents = inherit(game, run.folder).fresh, torch.randn(3, 4)
    run.load_game(old)
    with torch.no_grad():
        torch.testing.assert_close(game.sampling_generator.eval()(latents), old.sampling_generator.eval()(latents))
    return fresh


def told_of(run: Run, **changes: Any) -> str:
    return beginning(run.recipe().but(seed=5, init_from=str(run.folder), **changes), 3, 0)


def test_a_run_without_modulations_lives_on_in_one_with_them(tmp_path: Path):
    fresh = lives_on(trained(tmp_path, "r3gan", "16"), self_modulation=True)
    assert fresh
    assert all("modulation" in name for name in fresh)


def test_a_run_of_few_blocks_lives_on_in_one_of_more(tmp_path: Path):
    run = trained(tmp_path, "r3gan", "16", generator_blocks=2)
    fresh = lives_on(run, generator_blocks=4)
    assert {name.split(".")[3] for name in fresh} == {"2", "3"}  # the third and fourth of each stage
    assert "anew" not in told_of(run, generator_blocks=4)
    assert "--generator-blocks 2: so would more of it be kept" in told_of(run, generator_blocks=1)


def test_a_run_without_attention_lives_on_in_one_with_it_and_that_in_a_wider_one(tmp_path: Path):
    run = trained(tmp_path, "r3gan", "16", group_width=1)
    fresh = lives_on(run, generator_attention=True)
    assert fresh
    assert all(".attention." in name for name in fresh)
    assert "anew" not in told_of(run, generator_attention=True)
    attentive = trained(tmp_path / "attentive", "r3gan", "16", group_width=1, generator_attention=True)
    assert attentive.saved_game()["generator"]["stages.1.attention.tell.weight"].any()  # it has learnt
    assert not lives_on(attentive, generator_width=40)
    assert "anew" not in told_of(attentive, generator_width=40)
    assert "--generator-attention: so would more" in told_of(attentive, generator_attention=False)


def test_other_groups_or_narrower_networks_do_not_fit(tmp_path: Path):
    run = trained(tmp_path, "r3gan", "16", group_width=1)
    recipe = run.recipe().but(seed=5, group_width=16, generator_width=2)
    game = new_game(build(recipe, 3), recipe)
    taken = inherit(game, run.folder).taken
    assert not [name for name in taken if ".mix." in name and name.endswith("weight")]
    assert not [name for name in taken if name.startswith("generator.narrow")]
    assert [name for name in taken if name.startswith("discriminator.stages")]


def test_a_run_of_small_pictures_is_the_beginning_of_one_that_enlarges(tmp_path: Path):
    run = trained(tmp_path, "r3gan")
    recipe = recipe_of("r3gan", "16", seed=5)
    enlarging = recipe.but(size="32", enlarge=2)
    game, alone = (new_game(build(one, 3), one) for one in (enlarging, recipe))
    taken = [inherit(one, run.folder).taken for one in (game, alone)]
    assert sorted(taken[0]) == sorted(taken[1])
    small = game.pair.generator.generator
    assert isinstance(small, torch.nn.Module)
    for name, tensor in alone.pair.generator.state_dict().items():
        assert torch.equal(small.state_dict()[name], tensor), name
