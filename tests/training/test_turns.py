"""The game: each stage moves one player, a step is a function of its number, and something is learnt."""

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

from hasama.errors import HasamaError
from hasama.networks.calling import frozen
from hasama.networks.pair import Extra, Pair
from hasama.networks.registry import build
from hasama.pictures.dataset import Batch
from hasama.presets import RECIPES
from hasama.recipe import Recipe
from hasama.shapes import each, largest
from hasama.training.game import Game
from hasama.training.parts import _whole_parts
from hasama.training.setup import loop_for, mixes_images, new_game
from hasama.training.stepping import begin, count, follow, scheduled, update_ema
from hasama.training.turns import (
    discriminator_turn,
    draw_fakes,
    generator_turn,
    logits_of,
    noisy,
    penalties,
    play,
    real_and_fake_logits,
)

TINY: dict[str, Any] = {"size": "8", "width": 2, "latent_size": 4, "batch": 4, "precision": "fp32"}


def tiny(name: str = "dcgan", classes: int = 0, **changes: Any) -> Game:
    if RECIPES[name].architecture == "progressive":  # after two steps of four pictures it has two thirds faded in
        changes = {"grow_kimg": 0.006} | changes
    recipe = RECIPES[name].but(**(TINY | changes))
    return new_game(build(recipe, 3, classes), recipe)


def pictures(steps: int, count: int = 4, first: int = 0, size: int = 8) -> Iterator[torch.Tensor]:
    """The batches of a run, by number."""
    for number in range(first, first + steps):
        generator = torch.Generator().manual_seed(1000 + number)
        yield torch.rand(count, 3, size, size, generator=generator) * 2 - 1


def run(game: Game, architecture: str, steps: int, first: int = 0) -> list[Any]:
    batches = (Batch(images) for images in pictures(steps, first=first))
    return list(loop_for(architecture)(game, batches))


def everything(state: Any) -> dict[str, Any]:
    """A nested state, flattened and copied: {path: tensor or number}."""
    if isinstance(state, dict):
        return {f"{key}/{path}": leaf for key, value in state.items() for path, leaf in everything(value).items()}
    if isinstance(state, list | tuple):
        return everything(dict(enumerate(state)))
    return {"": state.clone() if isinstance(state, torch.Tensor) else state}


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """The paths whose leaves are not bit for bit the same."""
    assert before.keys() <= after.keys()
    return {
        path
        for path in after
        if path not in before
        or not (
            torch.equal(before[path], after[path])
            if isinstance(after[path], torch.Tensor)
            else before[path] == after[path]
        )
    }


def part(game: Game, name: str) -> dict[str, Any]:
    return everything(game.parts()[name].state_dict())


def warmed_up(name: str = "dcgan", **changes: Any) -> Game:
    """A game after two steps, so that the optimizers have a memory."""
    game = tiny(name, **changes)
    run(game, game_architecture(name), 2)
    return game


def game_architecture(name: str) -> str:
    return RECIPES[name].architecture


GAMES = [name for name, recipe in RECIPES.items() if recipe.architecture != "vae"]

# --- each stage moves exactly one player ----------------------------------------------------------


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("stage", ["discriminator", "generator"])
def test_a_turn_moves_its_player_and_nothing_else(name: str, stage: str):
    game = warmed_up(name, balance="always")
    begin(game)
    (real,) = map(game.pair.view, pictures(1))
    fake = draw_fakes(game, 4, torch.device("cpu"))
    before = {name: part(game, name) for name in game.parts()}
    turn = (discriminator_turn if stage == "discriminator" else generator_turn)(game, real, fake)
    assert turn.learned
    for player in game.parts():
        moved = changed(before[player], part(game, player))
        assert bool(moved) == player.startswith(stage), player
    weights = {path for path in before[stage] if path.endswith(("weight/", "bias/", "original/"))}
    weights -= {
        path for path in weights if path.endswith("logit.bias/")
    }  # where only differences between logits count, it has no gradient
    assert weights <= changed(before[stage], part(game, stage))  # every one of them


def statistics(network: nn.Module) -> dict[str, Any]:
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def test_batchnorms_memory_moves_in_its_own_players_turn_only():
    """Parameters are not all there is: running statistics, and the number of batches tracked."""
    game = warmed_up()
    generator = game.pair.generator
    begin(game)
    (real,) = pictures(1)
    ours = statistics(generator)
    fake = draw_fakes(game, 4, real.device)
    tracked = {name for name in ours if name.endswith("num_batches_tracked")}
    assert changed(ours, statistics(generator)) == ours.keys()  # the draw is the generator's one move
    assert all(statistics(generator)[name] == ours[name] + 1 for name in tracked)
    ours = statistics(generator)
    discriminator_turn(game, real, fake)
    generator_turn(game, real, fake)
    assert changed(ours, statistics(generator)) == set()


def test_the_frozen_discriminators_batchnorm_leaves_no_trace():
    game = tiny(size="16")
    list(play(game, pictures(2, size=16)))
    begin(game)
    (real,) = pictures(1, size=16)
    fake = draw_fakes(game, 4, real.device)
    before = statistics(game.pair.discriminator)
    assert before
    generator_turn(game, real, fake)
    assert changed(before, statistics(game.pair.discriminator)) == set()
    discriminator_turn(game, real, fake)
    assert changed(before, statistics(game.pair.discriminator)) == before.keys()


def test_a_skipped_discriminator_stays_where_it_is():
    game = tiny(size="16", balance="skip-strong", skip_above=0.5, label_smoothing=0.1)
    with torch.no_grad():  # it calls everything real: right about one half, and so too strong
        game.pair.discriminator.get_parameter("logit.bias").fill_(1e3)
    begin(game)
    (real,) = pictures(1, size=16)
    fake = draw_fakes(game, 4, real.device)
    before = everything(game.state_dict())
    turn = discriminator_turn(game, real, fake)
    assert not turn.learned
    assert turn.loss is not None
    assert (turn.figures["accuracy_real"], turn.figures["accuracy_fake"]) == (1, 0)
    assert changed(before, everything(game.state_dict())) == set()
    with torch.no_grad():
        game.pair.discriminator.get_parameter("logit.bias").zero_()
    game.rules = game.rules._replace(balance=game.rules.balance._replace(discriminator_learns=lambda moment: True))
    assert discriminator_turn(game, real, fake).learned


def test_the_generator_moves_at_every_nth_step_only():
    game = tiny(balance="critic-steps", critic_steps=3)
    moved, told = [], []
    for images in pictures(7):
        before = [p.clone() for p in game.pair.generator.parameters()]
        optimizer = part(game, "generator_optimizer")
        (step,) = play(game, [images])
        same = all(map(torch.equal, before, game.pair.generator.parameters()))
        assert same == (not changed(optimizer, part(game, "generator_optimizer")))
        moved.append(not same)
        told.append(step.g.learned)
        assert step.d.learned
        assert (step.g.loss is None) == same
        assert ("loss_generator" in step.figures()) is not same
    assert moved == told == [False, False, True, False, False, True, False]


@pytest.mark.parametrize(("every", "costs"), [(1, 4), (2, 2), (3, 2), (4, 1)])
def test_lazy_costs_of_the_generator_go_by_its_own_steps(every: int, costs: int):
    game = tiny("stylegan", balance="critic-steps", critic_steps=every)
    figures = [step.g.figures for step in play(game, pictures(16))]
    assert sum("path_length" in one for one in figures) == costs


@pytest.mark.parametrize("parts", [2, 4])
def test_in_parts_the_generators_means_move_as_far(parts: int):
    def means(accumulate: int) -> list[float]:
        game = tiny("stylegan", accumulate=accumulate, batch=8)
        list(play(game, pictures(1, count=8)))
        return [game.pair.generator.get_buffer(name).norm().item() for name in ("mean_style", "mean_path")]

    assert means(parts) == pytest.approx(means(1), rel=0.5)  # not so many times as far


@pytest.mark.parametrize("changes", [{"augment": "diffaugment"}, {"discriminator_dropout": 0.3}])
def test_finite_differences_are_of_the_same_picture(changes: dict[str, Any]):
    """Or what differs between two looks, divided by a small number, would be the penalty."""
    tiny("dcgan", penalty="r1", discriminator_norm="none", penalty_sigma=0.0, **changes)
    tiny("dcgan", penalty="r1", discriminator_norm="none", penalty_sigma=0.01)
    with pytest.raises(HasamaError, match="--penalty-sigma compares"):
        tiny("dcgan", penalty="r1", discriminator_norm="none", penalty_sigma=0.01, **changes)


def test_finite_differences_are_refused_where_dropout_is_the_architectures_own():
    with pytest.raises(HasamaError, match="--discriminator-dropout 0"):
        tiny("dense", penalty="r1", penalty_sigma=0.01)
    tiny("dense", penalty="r1", penalty_sigma=0.01, discriminator_dropout=0.0)


@pytest.mark.parametrize("last", [1, 2, 3, 6, 7])
def test_a_short_last_batch_is_taken_in_parts_that_it_has(last: int):
    """As a `DataLoader` gives it: a part without a picture has no mean, and ADA would stand still for ever."""
    game = tiny("r3gan", accumulate=4, batch=8, augment="ada", precision="fp32")
    batches = [pictures(1, count=8), pictures(1, count=last), pictures(1, count=8)]
    for step in play(game, itertools.chain(*batches)):
        assert all(math.isfinite(value) for value in step.figures().values())
    for name, value in game.pair.discriminator.named_buffers():
        assert value.isfinite().all(), name


@pytest.mark.parametrize(
    ("images", "most", "parts"),
    [(32, 4, 4), (25, 4, 5), (26, 4, 13), (3, 4, 1), (6, 4, 3), (31, 4, 1), (8, 1, 1), (2, 4, 1), (4, 2, 2)],
)
def test_a_short_batch_needs_no_more_memory_than_a_whole_one_where_it_divides(images: int, most: int, parts: int):
    assert _whole_parts(images, most) == parts


def test_a_frozen_network_thaws_even_after_an_exception():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    network[0].weight.requires_grad_(False)  # pyright: ignore[reportArgumentType]
    before = statistics(network)
    wanted = [p.requires_grad for p in network.parameters()]

    def fail() -> None:
        with frozen(network):
            assert not any(p.requires_grad for p in network.parameters())
            network(torch.randn(4, 2))
            assert changed(before, statistics(network))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [p.requires_grad for p in network.parameters()] == wanted == [False, True, True, True, True, True]
    assert changed(before, statistics(network)) == set()


def test_a_generator_turn_that_fails_leaves_the_discriminator_able_to_learn():
    game = tiny()
    game.pair.discriminator.register_forward_hook(lambda module, given, logits: logits[:1])
    with pytest.raises(HasamaError, match="one logit per image"):
        generator_turn(game, torch.zeros(4, 3, 8, 8), torch.zeros(4, 3, 8, 8))
    assert all(p.requires_grad for p in game.pair.discriminator.parameters())


def test_the_discriminators_gradient_does_not_reach_the_generator():
    game = tiny()
    (real,) = pictures(1)
    fake = draw_fakes(game, 4, real.device)
    discriminator_turn(game, real, fake)
    assert all(p.grad is None for p in game.pair.generator.parameters())
    generator_turn(game, real, fake)
    assert all(p.grad is not None for p in game.pair.generator.parameters())


# --- a step is a function of its number -----------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_two_games_are_the_same_game(name: str):
    one, other = tiny(name), tiny(name)
    run(one, game_architecture(name), 3)
    torch.rand(17)  # whatever else draws random numbers
    run(other, game_architecture(name), 3)
    assert changed(everything(one.state_dict()), everything(other.state_dict())) == set()


@pytest.mark.parametrize("changes", [{"seed": 1}, {"images_seen": 4}])
def test_seed_and_images_seen_both_matter(changes: dict[str, int]):
    draws = []
    for differs in ({}, changes):
        game = tiny()
        game.rules = game.rules._replace(seed=differs.get("seed", 0))
        game.images_seen = differs.get("images_seen", 0)
        begin(game)
        draws.append(torch.randn(4))
    assert not torch.equal(*draws)


@pytest.mark.parametrize("name", RECIPES)
def test_a_resumed_game_is_the_uninterrupted_one(name: str):
    architecture = game_architecture(name)
    whole = tiny(name)
    run(whole, architecture, 7)
    first = tiny(name)
    run(first, architecture, 4)
    saved = copy.deepcopy(first.state_dict())
    resumed = tiny(name, seed=0)
    with torch.no_grad():
        for parameter in itertools.chain(
            resumed.pair.generator.parameters(), resumed.pair.discriminator.parameters()
        ):
            parameter.normal_()  # whatever a fresh game begins with
    resumed.load_state_dict(saved)
    run(resumed, architecture, 3, first=4)
    assert (resumed.images_seen, resumed.steps) == (28, 7)
    assert changed(everything(whole.state_dict()), everything(resumed.state_dict())) == set()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("ema"),
        lambda state: state.pop("images_seen"),
        lambda state: state["generator"].pop("to_rgb.weight"),
        lambda state: state.update(generator=tiny(width=3).pair.generator.state_dict()),
        lambda state: state["generator_optimizer"]["param_groups"][0]["params"].pop(),
        lambda state: state.update(discriminator=5),
        lambda state: state.update(discriminator_optimizer=None),
    ],
)
def test_a_state_of_other_networks_is_refused(spoil: Callable[[dict[str, Any]], Any]):
    state = copy.deepcopy(warmed_up().state_dict())
    spoil(state)
    with pytest.raises(HasamaError, match="does not fit the recipe's networks"):
        tiny().load_state_dict(state)


# --- weight decay ---------------------------------------------------------------------------------


def test_weight_decay_is_part_of_both_networks_gradient():
    """Of a first step of Adam, which is rate * sign(gradient), as torch's Adam has it, not AdamW."""
    game = tiny("dense", weight_decay=1.0, generator_lr=1e-3, discriminator_lr=1e-3)
    for network, optimizer in zip(game.pair[:2], game.optimizers, strict=True):
        weights = list(network.parameters())
        before = [weight.detach().clone() for weight in weights]
        for weight in weights:
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
        for weight, old in zip(weights, before, strict=True):
            torch.testing.assert_close(weight.detach(), old - 1e-3 * old.sign(), atol=1e-5, rtol=0)


# --- the EMA generator ----------------------------------------------------------------------------


class Scalars(nn.Module):
    """A weight, a floating-point buffer and a counter."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), value))
        self.register_buffer("mean", torch.full((2,), value))
        self.register_buffer("count", torch.tensor(int(value)))


def test_the_ema_is_its_closed_form():
    ema, network = Scalars(7.0), Scalars(0.0)
    for value in (1.0, 2.0, 4.0):
        network.load_state_dict(Scalars(value).state_dict())
        update_ema(ema, network, 0.25)
    wanted = 0.75**3 * 7 + 0.25 * (0.75**2 * 1 + 0.75 * 2 + 4)
    assert ema.weight.tolist() == pytest.approx([wanted] * 3)
    assert ema.get_buffer("mean").tolist() == pytest.approx([wanted] * 2)
    assert ema.get_buffer("count") == 4  # counters are copied
    assert torch.equal(network.weight, torch.full((3,), 4.0))


def moved_on(game: Game, shown: int) -> None:
    """A step without its turns."""
    begin(game, shown)
    follow(game, shown)
    count(game, shown)


def test_half_of_the_way_is_left_after_one_half_life():
    game = tiny()
    game.ema, game.pair = Scalars(1.0), game.pair._replace(generator=Scalars(0.0))
    game.rules = game.rules._replace(ema_images=400.0)
    game.images_seen = 400 * 100  # long after the warm-up
    for _ in range(10):
        moved_on(game, 40)
    assert game.ema.get_parameter("weight").tolist() == pytest.approx([0.5] * 3)
    assert (game.images_seen, game.steps) == (40_400, 10)


def test_at_first_the_half_life_is_a_share_of_the_images_seen():
    game = tiny()
    game.ema, game.pair = Scalars(1.0), game.pair._replace(generator=Scalars(0.0))
    game.images_seen = 900
    moved_on(game, 100)  # of 1000 seen: the half-life is 50, and two pass
    assert game.ema.get_parameter("weight").tolist() == pytest.approx([0.25] * 3)


def test_the_share_is_the_recipes():
    game = tiny(ema_rampup=0.5, ema_kimg=0.25)
    game.ema, game.pair = Scalars(1.0), game.pair._replace(generator=Scalars(0.0))
    game.images_seen = 300
    moved_on(game, 100)  # of 400 seen the half is 200: half of a half-life passes
    assert game.ema.get_parameter("weight").tolist() == pytest.approx([0.5**0.5] * 3)
    game.images_seen = 9900
    moved_on(game, 250)  # the half-life itself
    assert game.ema.get_parameter("weight").tolist() == pytest.approx([0.5**1.5] * 3)


def test_the_ema_generator_makes_the_samples_and_learns_by_no_gradient():
    game = warmed_up()
    assert game.sampling_generator is game.ema
    assert not any(p.requires_grad for p in game.sampling_generator.parameters())
    assert not game.sampling_generator.training
    assert game.pair.generator.training
    without = tiny(ema_kimg=0.0)
    assert without.ema is None
    assert without.sampling_generator is without.pair.generator
    assert "ema" not in without.state_dict()
    list(play(without, pictures(1)))


# --- what the discriminator is shown --------------------------------------------------------------


def pair_of_logits(seen: dict) -> tuple[torch.Tensor, torch.Tensor]:
    return seen["real"][1], seen["fake"][1]


def test_one_pass_or_two_give_the_same_logits_where_images_do_not_mix():
    game = tiny(discriminator_norm="none", size="16")
    assert not game.mixes
    real, fake = pictures(2, size=16)
    together = pair_of_logits(real_and_fake_logits(game, real, fake, None))
    passes = []
    game.pair.discriminator.register_forward_hook(lambda *given: passes.append(1))
    game.mixes = True
    apart = pair_of_logits(real_and_fake_logits(game, real, fake, None))
    assert len(passes) == 2
    torch.testing.assert_close(together, apart)


def test_where_images_mix_reals_and_fakes_are_normalised_apart():
    game = tiny(size="16")
    assert game.mixes
    real, fake = pictures(2, size=16)
    alone = logits_of(game, real, None)
    torch.testing.assert_close(real_and_fake_logits(game, real, fake, None)["real"][1], alone)
    game.mixes = False
    assert not torch.allclose(real_and_fake_logits(game, real, fake, None)["real"][1], alone)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm])
def test_any_batchnorm_mixes(norm: type[nn.Module]):
    assert mixes_images(nn.Sequential(nn.Sequential(norm(3))))  # pyright: ignore[reportCallIssue]
    assert not mixes_images(nn.Sequential(nn.GroupNorm(1, 3), nn.LayerNorm(3), nn.InstanceNorm2d(3)))


@pytest.mark.parametrize("penalty", ["r1", "r2", "r1+r2", "wgan-gp"])
def test_penalties_refuse_a_discriminator_with_batchnorm(penalty: str):
    recipe = RECIPES["dcgan"].but(**(TINY | {"size": "16"}))
    pair = build(recipe)
    with pytest.raises(HasamaError, match=rf"{penalty.replace('+', '.')}.*BatchNorm.*--discriminator-norm none"):
        new_game(pair, recipe.but(penalty=penalty, discriminator_norm="none"))


@pytest.mark.parametrize("penalty", ["r1", "r2", "r1+r2", "wgan-gp"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_weighty_penalty_flattens_the_discriminator(penalty: str, precision: str):
    """The penalty is told, and with it the gradient at the pictures is smaller than without."""

    def slope(gamma: float) -> tuple[float, float]:
        fields: dict[str, Any] = {
            **TINY, "precision": precision, "discriminator_lr": 0.01, "generator_lr": 0.0, "gamma": gamma,
            "penalty": penalty, "discriminator_norm": "none", "objective": "wasserstein",
        }  # fmt: skip
        recipe = Recipe(**fields)
        game = new_game(build(recipe), recipe)
        steps = list(play(game, pictures(25)))
        (real,) = pictures(1)
        real.requires_grad_()
        (gradient,) = torch.autograd.grad(logits_of(game, real, None).sum(), real)
        return gradient.flatten(1).norm(dim=1).mean().item(), steps[-1].figures()["penalty"]

    free, held = slope(0.0), slope(100.0)
    assert held[0] < free[0] / 2
    assert held[1] < free[1] / 2


def test_gamma_weighs_the_penalty_in_the_loss():
    def first_loss(gamma: float) -> tuple[float, float]:
        game = tiny("stable", gamma=gamma)
        (step,) = play(game, pictures(1))
        return step.figures()["loss_discriminator"], step.figures()["penalty"]

    (without, penalty), (weighed, same) = first_loss(0.0), first_loss(1e5)
    assert penalty == same > 0
    assert weighed - without == pytest.approx(1e5 * penalty, rel=1e-3)


def test_instance_noise_fades_and_then_is_gone():
    game = tiny(instance_noise=0.5, instance_noise_kimg=0.1)
    images = torch.zeros(200, 3, 8, 8)

    def strength(images_seen: int) -> float:
        game.images_seen = images_seen
        begin(game)
        return largest(noisy(game, images)).std().item()

    told = [strength(seen) for seen in (0, 25, 50, 75)]
    assert told == pytest.approx([0.5, 0.375, 0.25, 0.125], rel=0.02)
    assert strength(99) > 0
    for gone in (100, 101, 10**9):
        game.images_seen = gone
        assert noisy(game, images) is images


def test_no_noise_where_none_is_asked_for():
    images = torch.zeros(2, 3, 8, 8)
    assert noisy(tiny(), images) is images
    assert noisy(tiny(instance_noise=0.5, instance_noise_kimg=0.0), images) is images


def test_both_players_see_the_noise():
    seen: list[float] = []
    game = tiny(instance_noise=1.0)
    game.pair.discriminator.register_forward_pre_hook(lambda module, given: seen.append(given[0].abs().max().item()))
    list(play(game, pictures(1)))
    assert len(seen) == 2  # both in one pass, then the fakes for the generator
    assert min(seen) > 1.5  # pictures alone end at 1


# --- what one may hand in -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dcgan", "dense", "stable"])
def test_labels_reach_both_players(name: str):
    game = tiny(name, classes=3)
    labels = torch.tensor([0, 1, 2, 1])
    steps = list(play(game, [Batch(images, labels) for images in pictures(3)]))
    assert len(steps) == 3
    for network in game.pair[:2]:
        embeddings = [m for m in network.modules() if isinstance(m, nn.Embedding)]
        assert len(embeddings) == 1
        assert embeddings[0].weight.grad is not None
        assert embeddings[0].weight.grad.abs().sum() > 0


def test_a_generator_with_classes_needs_labelled_batches():
    with pytest.raises(HasamaError, match="needs a label"):
        list(play(tiny(classes=3), pictures(1)))


@pytest.mark.parametrize("name", ["dcgan", "vae"])
def test_a_bare_tensor_is_a_batch_without_labels(name: str):
    one, other = tiny(name), tiny(name)
    loop = loop_for(game_architecture(name))
    steps = list(loop(one, pictures(2)))  # pyright: ignore[reportArgumentType]
    run(other, game_architecture(name), 2)
    assert [step.images_seen for step in steps] == [4, 8]
    assert changed(everything(one.state_dict()), everything(other.state_dict())) == set()


class Plain(nn.Module):
    """Any module will do: this one paints flat colours."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layer(latents)).view(-1, 3, 1, 1).expand(-1, 3, 8, 8)


def discriminator_with(*shape: int) -> nn.Module:
    layers = [nn.Flatten(), nn.Linear(3 * 64, max(1, shape[-1] if shape else 1)), nn.Unflatten(1, shape or (1,))]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 1, 1)])
def test_any_two_modules_play(shape: tuple[int, ...]):
    game = new_game(Pair(Plain(), discriminator_with(*shape), 4), Recipe(**TINY))
    assert [step.images_seen for step in play(game, pictures(2))] == [4, 8]


def test_a_discriminator_with_more_than_one_logit_per_image_is_refused():
    game = new_game(Pair(Plain(), discriminator_with(2), 4), Recipe(**TINY))  # pyright: ignore[reportArgumentType]
    with pytest.raises(HasamaError, match=r"one logit per image \[N\] or \[N, 1\]; this one \[8, 2\]"):
        list(play(game, pictures(1)))


def test_view_and_grow_are_asked_at_every_step():
    told: list[int] = []
    seen: list[torch.Tensor] = []
    pair = Pair(Plain(), discriminator_with(1), 4, view=lambda real: real * 0 + 0.125, grow=told.append)
    pair.discriminator.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    list(play(new_game(pair, Recipe(**TINY)), pictures(3)))  # pyright: ignore[reportArgumentType]
    assert told == [0, 4, 8]
    assert (seen[0][:4] == 0.125).all()


def test_play_waits_for_its_consumer():
    """A loop is a generator: no step is taken that nobody asks for."""
    game = tiny()
    steps = play(game, pictures(5))
    assert game.steps == 0
    assert next(steps).images_seen == 4
    assert game.steps == 1


# --- it learns ------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["dcgan", "dense", "stable", "vae"])
def test_both_precisions_play_and_keep_float32_weights(name: str, precision: str):
    game = tiny(name, precision=precision, size="16")
    batches = [Batch(images) for images in pictures(3, size=16)]
    records = list(loop_for(game_architecture(name))(game, batches))
    assert all(torch.tensor(list(r.figures().values())).isfinite().all() for r in records)
    tensors = [t for t in everything(game.state_dict()).values() if isinstance(t, torch.Tensor)]
    assert {t.dtype for t in tensors} <= {torch.float32, torch.int64}


def two_modes(steps: int) -> Iterator[torch.Tensor]:
    """Flat pictures, one half bright in the first channel, the other in the last."""
    colours = torch.tensor([[0.8, 0.0, -0.8], [-0.8, 0.0, 0.8]])
    for number in range(steps):
        generator = torch.Generator().manual_seed(number)
        flat = colours[torch.arange(32) % 2][:, :, None, None].expand(-1, -1, 8, 8)
        yield flat + 0.05 * torch.randn(32, 3, 8, 8, generator=generator)


@pytest.mark.parametrize("name", ["dense", "dcgan", "lsgan", "stable"])
def test_the_generator_learns_the_spread_of_a_toy(name: str):
    """It begins with grey pictures; soon one channel rises where the other falls, as in the reals."""
    game = tiny(name, width=8, batch=32, ema_kimg=0.0, generator_lr=2e-3, discriminator_lr=2e-3)

    def fakes() -> torch.Tensor:
        torch.manual_seed(0)
        with torch.no_grad():
            return largest(game.generate(torch.randn(256, 4))).mean((2, 3))  # [256, 3]

    before = fakes()
    list(play(game, two_modes(150)))
    after = fakes()
    assert before[:, 0].abs().mean() < 0.2
    assert after[:, 0].abs().mean() > 0.35  # 0.8 in the reals
    assert torch.corrcoef(after.T)[0, 2] < -0.8
    assert after[:, 1].abs().mean() < 0.6 * after[:, 0].abs().mean()


def test_a_discriminator_alone_learns_to_tell_real_from_fake():
    game = tiny(width=8, generator_lr=0.0, discriminator_lr=1e-2)
    told = [step.figures() for step in play(game, two_modes(100))]
    assert told[-1]["loss_discriminator"] < told[0]["loss_discriminator"] / 2
    assert told[-1]["accuracy_real"] == told[-1]["accuracy_fake"] == 1


def test_the_vae_learns_to_repeat_its_pictures():
    game = tiny("vae", width=8, generator_lr=3e-3, discriminator_lr=3e-3)
    records = list(loop_for("vae")(game, map(Batch, two_modes(120))))
    assert records[-1].figures()["loss_reconstruction"] < records[0].figures()["loss_reconstruction"] - 50
    assert records[-1].figures()["loss_divergence"] > 0.5  # some of it through the code


# --- schedules, lazy costs, augmentation ----------------------------------------------------------


def test_rates_and_gamma_fall_by_half_a_cosine_and_then_stay():
    game = tiny("r3gan", schedule_kimg=1.0)  # to a quarter, and to a tenth
    rates = []
    for images in (0, 500, 1000, 9000):
        game.images_seen = images
        begin(game)
        rates.append([player.param_groups[0]["lr"] / RECIPES["r3gan"].generator_lr for player in game.optimizers])
    assert rates == [pytest.approx([share] * 2) for share in (1, 0.625, 0.25, 0.25)]
    game.images_seen = 500
    assert scheduled(game, 0.1) == pytest.approx(0.55)
    assert scheduled(game, 1.0) == 1


def test_without_a_length_of_its_own_the_schedule_lasts_as_long_as_the_run():
    game = tiny("r3gan", kimg=3.0)
    shares = []
    for images in (0, 1500, 3000, 9000):
        game.images_seen = images
        shares.append(scheduled(game, 0.25))
    assert shares == pytest.approx([1, 0.625, 0.25, 0.25])


def test_beta2_rises_by_half_a_cosine_and_then_stays():
    game = tiny("r3gan", schedule_kimg=1.0, beta2_initial=0.9)
    found = []
    for images in (0, 250, 500, 1000, 9000):
        game.images_seen = images
        begin(game)
        found.append([optimizer.param_groups[0]["betas"] for optimizer in game.optimizers])
    rising = [0.99 - 0.09 * (1 + math.cos(math.pi * done)) / 2 for done in (0, 0.25, 0.5, 1, 1)]
    assert [pair[0] for pair in found] == [pytest.approx((0.0, beta2)) for beta2 in rising]
    assert all(one == other for one, other in found)
    assert rising[0] == pytest.approx(0.9)
    assert rising[-1] == 0.99


def test_schedules_go_on_across_a_resume():
    changes: dict[str, Any] = {"schedule_kimg": 0.03, "beta2_initial": 0.9}
    whole, first, resumed = (tiny("r3gan", **changes) for _ in range(3))
    run(whole, "r3gan", 6)
    run(first, "r3gan", 3)
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    run(resumed, "r3gan", 3, first=3)
    assert changed(everything(whole.state_dict()), everything(resumed.state_dict())) == set()
    groups = [game.optimizers.discriminator.param_groups[0] for game in (whole, resumed, tiny("r3gan", **changes))]
    assert groups[0]["betas"] == groups[1]["betas"] != groups[2]["betas"]


def test_a_penalty_by_finite_differences_is_the_exact_one_on_the_average():
    game = tiny("r3gan", penalty="r1+r2", precision="fp32", penalty_sigma=0.001)
    with torch.no_grad():
        for parameter in game.pair.discriminator.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    torch.manual_seed(0)
    real, fake = (torch.randn(4, 3, 8, 8, requires_grad=True) for _ in range(2))
    outputs = real_and_fake_logits(game, real, fake, None)
    near = torch.stack([penalties(game, outputs, None).detach() for _ in range(400)]).mean(0)
    exact = game.rules.penalties[0].cost(*outputs["both"]).detach()
    torch.testing.assert_close(near, exact[:4] + exact[4:], rtol=0.35, atol=0)  # 400 squared normals: 7 % each


def test_a_lazy_penalty_comes_at_every_nth_step_for_n_times_as_much():
    lazy, eager = (tiny(discriminator_norm="none", penalty="r1", gamma=50.0, penalty_every=n) for n in (3, 1))
    steps = run(lazy, "dcgan", 6)
    assert ["penalty" in step.figures() for step in steps] == [True, False, False, True, False, False]
    first = run(eager, "dcgan", 1)[0].figures()
    told = steps[0].figures()
    assert told["penalty"] == pytest.approx(first["penalty"])
    without = first["loss_discriminator"] - 50 * first["penalty"]
    assert told["loss_discriminator"] - without == pytest.approx(150 * told["penalty"], rel=1e-3)


@pytest.mark.parametrize("name", ["msg", "stable"])
def test_one_way_back_for_both_penalties_is_the_sum_of_two(name: str):
    game = tiny(name, penalty="r1+r2", gamma=1.0, augment="none")
    real, fake = (each(lambda x: x.requires_grad_(), game.pair.view(images)) for images in pictures(2))
    game.mixes = False  # msg's deviation in the batch is not the question here
    seen = real_and_fake_logits(game, real, fake, None)
    apart = {key: value for key, value in seen.items() if key != "both"}
    if name == "stable":
        torch.testing.assert_close(penalties(game, seen, None), penalties(game, apart, None))
    assert penalties(game, apart, None).shape == (4,)
    assert seen["both"][1].shape == (8,)


def test_extra_costs_are_lazy_and_weighted():
    calls = []

    def cost(network: nn.Module, *given: Any) -> torch.Tensor:
        calls.append(game.steps)
        return sum(p.square().sum() for p in network.parameters()) * torch.ones(4)  # pyright: ignore

    game = tiny()
    extra = Extra("weights", cost, every=2)
    game.pair = game.pair._replace(generator_extra=extra, discriminator_extra=extra)
    told = run(game, "dcgan", 3)
    assert calls == [0, 0, 2, 2]
    assert ["weights" in step.figures() for step in told] == [True, False, True]


def test_adas_probability_follows_the_discriminator_and_is_saved():
    changes = {"augment": "ada", "ada_target": 0.0, "ada_kimg": 0.1, "discriminator_lr": 0.01, "generator_lr": 0.0}
    changes |= {"gamma": 0.1, "objective": "non-saturating"}  # whose logits have a zero
    game = tiny("r3gan", **changes)
    run(game, "r3gan", 8)
    probability = game.state_dict()["discriminator"]["probability"]
    resumed = tiny("r3gan", **changes)
    resumed.load_state_dict(copy.deepcopy(game.state_dict()))
    run(game, "r3gan", 4, first=8)
    run(resumed, "r3gan", 4, first=8)
    assert 0 < probability <= 1
    assert changed(everything(game.state_dict()), everything(resumed.state_dict())) == set()


def test_with_a_relativistic_objective_adas_probability_rises_with_the_schedule():
    """Pairs that a discriminator tells apart say nothing of whether it has learnt pictures by heart."""
    changes = {"augment": "ada", "ada_final": 0.4, "schedule_kimg": 0.016, "discriminator_lr": 0.01}
    game = tiny("r3gan", **changes)
    told = []
    for _ in range(6):
        run(game, "r3gan", 1, first=game.steps)
        told.append(game.state_dict()["discriminator"]["probability"].item())
    wanted = [0.4 * (1 - math.cos(math.pi * min(1, seen / 16))) / 2 for seen in (0, 4, 8, 12, 16, 20)]
    assert told == pytest.approx(wanted)
    resumed = tiny("r3gan", **changes)
    resumed.load_state_dict(copy.deepcopy(game.state_dict()))
    run(game, "r3gan", 2, first=6)
    run(resumed, "r3gan", 2, first=6)
    assert changed(everything(game.state_dict()), everything(resumed.state_dict())) == set()


def test_a_run_from_before_is_still_steered_by_the_target():
    game = tiny("r3gan", augment="ada", ada_final=None, ada_target=0.0, ada_kimg=0.01, discriminator_lr=0.01)
    run(game, "r3gan", 8)
    assert game.rules.ada_final is None
    assert game.state_dict()["discriminator"]["probability"] > 0


@pytest.mark.parametrize("name", ["stylegan", "vae"])
def test_two_trainings_in_two_threads_do_not_draw_from_each_others_random_numbers(name: str) -> None:
    def train(seed: int) -> dict[str, Any]:
        game = tiny(name, seed=seed)
        run(game, RECIPES[name].architecture, 8)
        return everything(game.state_dict())

    alone = [train(1), train(2)]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(train, (1, 2)))
    assert [changed(one, other) for one, other in zip(alone, together, strict=True)] == [set(), set()]
