"""A network for pictures of another number of channels goes on as it was."""

from itertools import permutations

import pytest
import torch
from torch import Tensor

from hasama.networks.recoloured import as_kind
from hasama.networks.registry import build
from hasama.presets import RECIPES
from hasama.runs.folder import Run
from hasama.runs.transfer import beginning, inherit
from hasama.training.setup import new_game
from hasama.training.turns import play

KINDS = (1, 3, 4)
RECIPE = RECIPES["r3gan"].but(
    size="16",
    width=4,
    latent_size=4,
    batch=4,
    precision="fp32",
    group_width=1,
    pixel_noise=True,
    self_modulation=True,
)


def seen_as(pictures: Tensor, channels: int) -> Tensor:
    """Pictures [N, C, H, W] of one kind as those of another, written out."""
    colours = pictures[:, :3] if pictures.shape[1] > 1 else pictures.repeat(1, 3, 1, 1)
    if channels == 1:
        red, green, blue = colours.unbind(1)
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        return grey[:, None]
    if channels == 3:
        return colours
    alpha = pictures[:, 3:] if pictures.shape[1] == 4 else torch.ones_like(pictures[:, :1])
    return torch.cat([colours, alpha], 1)


@pytest.mark.parametrize(("old", "new"), [*permutations(KINDS, 2), (3, 3), (4, 4), (1, 1)])
def test_a_kind_is_a_linear_function_of_another(old: int, new: int):
    matrix, offset = as_kind(old, new)
    pictures = torch.randn(5, old, 3, 2)
    made = torch.einsum("no,bohw->bnhw", matrix, pictures) + offset[:, None, None]
    torch.testing.assert_close(made, seen_as(pictures, new))


@pytest.mark.parametrize("resampling", ["strided", "filtered"])
@pytest.mark.parametrize(("old", "new"), [*permutations(KINDS, 2)])
def test_both_networks_go_on_as_they_were(old: int, new: int, resampling: str, tmp_path):
    recipe = RECIPE.but(resampling=resampling)
    before = new_game(build(recipe, old), recipe)
    list(play(before, iter([torch.rand(4, old, 16, 16) * 2 - 1] * 3)))
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    run.save_recipe(recipe)
    run.save_game(before)
    wider = recipe.but(seed=5, generator_width=6, init_from=str(run.folder))
    assert beginning(wider, new, 0) == f"\nIt begins with the weights of {run.folder} (see inherited.json)."
    game = new_game(build(wider, new), wider)
    assert inherit(game, run.folder).fresh == []
    latents, pictures = torch.randn(6, 4), torch.rand(6, new, 16, 16) * 2 - 1
    with torch.no_grad():
        for ours, theirs in ((game.pair.generator, before.pair.generator), (game.ema, before.ema)):
            assert ours is not None
            assert theirs is not None
            made, wanted = ours.eval()(latents), seen_as(theirs.eval()(latents), new)
            torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-5)
        found = game.bare_discriminator(pictures)
        wanted = before.bare_discriminator(seen_as(pictures, old))
    if old == 4 and resampling == "strided":  # at the border it sees zeros beside the picture: nearly a constant
        assert (found - wanted).std() < 0.03 * wanted.std()
    else:
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    list(play(game, iter([pictures[:4]] * 2)))  # and it learns


def test_what_is_lost_is_told_and_what_would_keep_it():
    other = RECIPES["r3gan"].but(size="64", init_from="portraits")
    told = beginning(other, 3, 0)
    assert "8 of 35 layers begin anew. It was trained with --group-width 1, --pixel-noise" in told
    assert "begin anew" not in beginning(other.but(group_width=1, pixel_noise=True), 3, 0)
    narrower = RECIPES["vision-aided"].but(size="64", init_from="portraits", generator_width=8)
    assert "It was trained with --generator-width 16" in beginning(narrower, 3, 0)
    assert beginning(RECIPES["vision-aided"], 3, 0) == ""
