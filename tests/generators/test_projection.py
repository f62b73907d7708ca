"""Projection: what a generator made itself is found again; the nearest step is kept; the distance is one."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.projection import SHELL, ProjectionStep, Space, best_of, into_shell, project, ramp, space_of
from hasama.generators.projection_distance import distances, on_white, target_of
from hasama.generators.projection_file import load_projection, save_projection
from hasama.generators.sampling import draw_latents, synthesize, to_w
from hasama.networks.architectures.dense import Dense
from hasama.networks.architectures.stylegan import StyleGAN
from narrow_vgg import narrow_weights

NARROW = narrow_weights()


def dense(channels: int = 3, classes: tuple[str, ...] = ()) -> TrainedGenerator:
    """A small generator that maps z directly, with weights large enough for pictures to differ."""
    torch.manual_seed(0)
    network = Dense(32, 8).build((16, 16), channels, len(classes)).generator.requires_grad_(False)
    for weight in network.parameters():
        weight.mul_(2)
    return TrainedGenerator(network, None, 8, channels, classes)


def styled() -> TrainedGenerator:
    """A small style-based one, with a mean w."""
    torch.manual_seed(0)
    network = StyleGAN(4, 16, 2).build((16, 16), 3).generator.requires_grad_(False)
    generator = TrainedGenerator(network, None, 16, 3)
    network.get_buffer("mean_style").copy_(to_w(generator, draw_latents(1, 500, 16)).mean(0))
    return generator


def own_picture(generator: TrainedGenerator, label: int | None = None) -> torch.Tensor:
    """A picture that the generator made of a latent which no search starts from."""
    labels = None if label is None else torch.tensor([label])
    with torch.no_grad():
        return synthesize(generator, to_w(generator, draw_latents(99, 1, generator.latent_size), labels), labels)


# --- the search -----------------------------------------------------------------------------------


def test_any_seed_will_do_and_what_cannot_be_is_told():
    generator = dense()
    wanted = torch.zeros(1, 3, 16, 16)
    assert len(list(project(generator, wanted, 1, seed=10**23, weights=NARROW))) == 2
    for steps, seed in ((-1, 0), (1, -1)):
        with pytest.raises(HasamaError, match="steps and a seed from 0 up"):
            project(generator, wanted, steps, seed=seed, weights=NARROW)


@pytest.mark.parametrize(("kind", "space"), [("dense", "z"), ("styled", "w"), ("styled", "w+"), ("styled", "z")])
def test_a_picture_of_its_own_is_found_again(kind: str, space: Space):
    """Ten times nearer than the best of 512 random pictures, measured on what is painted from the w."""
    generator = dense() if kind == "dense" else styled()
    wanted = own_picture(generator)
    steps = list(project(generator, wanted, 60, space, weights=NARROW))
    best = best_of(steps)
    assert [step.step for step in steps] == list(range(61))
    assert best.losses["pixels"] < steps[0].losses["pixels"] / 10
    assert best.losses["features"] < steps[0].losses["features"] / 10
    w = to_w(generator, best.w) if space == "z" else best.w
    with torch.no_grad():
        torch.testing.assert_close(synthesize(generator, w), best.image)
    assert (best.image - wanted).square().mean().item() == pytest.approx(best.losses["pixels"], rel=1e-3)


def test_it_learns_though_gradients_are_switched_off_around_it():
    generator = dense()
    with torch.no_grad():
        first, *_, last = project(generator, own_picture(generator), 5, weights=NARROW)
    assert not torch.equal(first.w, last.w)


def test_w_plus_is_a_style_for_each_layer_that_differ_in_the_end():
    generator = styled()
    first, *_, last = project(generator, own_picture(generator), 20, "w+", weights=NARROW)
    assert last.w.shape == (1, generator.network.style_layers, 16)
    assert first.w.std(1).max() == 0
    assert last.w.std(1).max() > 0.01


def test_the_start_is_the_nearest_of_the_random_ones():
    """By pixels and features together, from among the nearest by pixels."""
    generator = dense()
    wanted = own_picture(generator)
    start = next(project(generator, wanted, 5, weights=NARROW))
    with torch.no_grad():
        random = synthesize(generator, draw_latents(0, 512, 8))
    pixels = (random - wanted).square().mean((1, 2, 3)).sort().values
    assert start.losses["pixels"] <= pixels[31].item() + 1e-6
    terms = distances(target_of(generator, wanted, NARROW), random)
    assert start.distance <= (terms["pixels"] + terms["features"]).quantile(0.02).item()


def test_the_same_seed_finds_the_same_and_torchs_numbers_are_left_alone():
    generator = styled()
    wanted = own_picture(generator)
    state = torch.get_rng_state()
    one, two = (list(project(generator, wanted, 6, seed=3, weights=NARROW)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a.w, b.w) and a.losses == b.losses for a, b in zip(one, two, strict=True))
    other = list(project(generator, wanted, 6, seed=4, weights=NARROW))
    assert not torch.equal(one[-1].w, other[-1].w)


def test_stopping_early_keeps_the_best_so_far():
    generator = styled()
    wanted = own_picture(generator)
    everything = list(project(generator, wanted, 40, weights=NARROW))
    told = itertools.count()
    best = best_of(project(generator, wanted, 40, weights=NARROW), lambda: next(told) == 11)
    assert next(told) == 12  # twelve steps were made, and no more
    expected = min(everything[:12], key=lambda step: step.distance)
    assert best.step == expected.step
    assert torch.equal(best.w, expected.w)
    assert best.distance > min(step.distance for step in everything)


def test_the_best_is_not_the_last():
    image = torch.zeros(1, 1, 2, 2)
    steps = [
        ProjectionStep(step, 3, {"pixels": far}, torch.zeros(1, 2), image, None) for step, far in enumerate((3, 1, 2))
    ]
    assert best_of(steps).step == 1
    with pytest.raises(HasamaError, match="no step"):
        best_of([])


def test_the_class_is_found_or_is_the_one_named():
    generator = dense(classes=("cat", "dog", "fox"))
    wanted = own_picture(generator, 1)
    found = best_of(project(generator, wanted, 60, weights=NARROW))
    assert found.label == 1
    fox = best_of(project(generator, wanted, 60, label="fox", weights=NARROW))
    assert fox.label == 2
    assert fox.distance > 3 * found.distance
    with pytest.raises(HasamaError, match="Did you mean dog"):
        project(generator, wanted, 5, label="dgo", weights=NARROW)


def test_the_generator_is_as_it_was():
    generator = styled()
    generator.network.train()
    before = {name: value.clone() for name, value in generator.network.state_dict().items()}
    for weight in generator.network.parameters():
        weight.requires_grad_(True)
    list(project(generator, own_picture(generator), 3, weights=NARROW))
    assert generator.network.training
    assert all(weight.grad is None for weight in generator.network.parameters())
    assert all(torch.equal(before[name], value) for name, value in generator.network.state_dict().items())


def test_latents_stay_where_random_ones_are():
    lengths = draw_latents(0, 3000, 40).norm(dim=1)
    assert ((lengths - math.sqrt(40)).abs() > SHELL).float().mean() < 0.01
    far = torch.stack([torch.full((40,), 5.0), torch.full((40,), 0.01), draw_latents(0, 1, 40)[0], torch.zeros(40)])
    moved = into_shell(far)
    torch.testing.assert_close(moved[:2].norm(dim=1), math.sqrt(40) + torch.tensor([SHELL, -SHELL]))
    torch.testing.assert_close(moved[2], far[2])
    assert moved.isfinite().all()
    white = torch.full((1, 3, 16, 16), 1.0)
    for step in project(dense(), white, 30, weights=NARROW):
        assert abs(step.w.norm().item() - math.sqrt(8)) < SHELL + 1e-4


def test_the_rate_rises_stays_and_falls():
    assert [ramp(done) for done in (0.025, 0.05, 0.5, 0.75)] == pytest.approx([0.5, 1, 1, 1])
    assert ramp(0.875) == pytest.approx(0.5)
    assert ramp(1.0) == pytest.approx(0)


@pytest.mark.parametrize(
    ("kind", "space", "words"),
    [("dense", "w", "not style-based"), ("dense", "w+", "no w\\+"), ("styled", "v", "There is no space 'v'")],
)
def test_a_space_that_is_not_there_is_refused(kind: str, space: str, words: str):
    generator = dense() if kind == "dense" else styled()
    with pytest.raises(HasamaError, match=words):
        space_of(generator, space)


def test_a_picture_of_another_form_is_refused():
    with pytest.raises(HasamaError, match="wanted one is"):
        project(dense(), torch.zeros(1, 3, 8, 16), 3, weights=NARROW)


# --- the distance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_distance_is_nought_only_from_the_picture_itself(channels: int):
    generator = dense(channels)
    wanted = own_picture(generator)
    target = target_of(generator, wanted, NARROW)
    same, other = distances(target, torch.cat([wanted, wanted.flip(3)])).values(), []
    assert len(same) == (3 if channels == 4 else 2)
    for term in same:
        assert term[0].item() == pytest.approx(0, abs=1e-9)
        other.append(term[1].item())
    assert min(other) > 1e-3
    assert best_of(project(generator, wanted, 40, weights=NARROW)).losses["pixels"] < 0.01


def test_colours_that_nobody_sees_do_not_count():
    rgba = torch.rand(1, 4, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rgba[:, 3] = -1
    assert torch.equal(on_white(rgba), torch.ones(1, 3, 6, 6))
    rgba[:, 3] = 1
    torch.testing.assert_close(on_white(rgba), rgba[:, :3])


def test_features_do_not_feel_how_strong_but_what():
    """Brought to length 1 at every place: in [0, 2] for ReLUs, and small for a slightly brighter picture."""
    generator = dense()
    wanted = own_picture(generator)
    target = target_of(generator, wanted, NARROW)
    noise = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, wanted.shape).astype(np.float32))
    brighter, strange = distances(target, torch.cat([(wanted + 0.05).clamp(-1, 1), noise]))["features"].tolist()
    assert 0 < brighter < strange / 3 < 2 / 3


def test_a_picture_of_one_colour_has_a_gradient():
    """Where no unit answers, the length is nought, and nothing may be divided by it."""

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            return (latents.mean(1)[:, None, None, None] * self.scale).expand(-1, 3, 8, 8)

    silent = NARROW._replace(convolutions={name: (w * 0, b * 0) for name, (w, b) in NARROW.convolutions.items()})
    steps = list(project(TrainedGenerator(Flat(), None, 4, 3), torch.full((1, 3, 8, 8), 0.5), 5, weights=silent))
    assert all(step.w.isfinite().all() for step in steps)
    assert all(step.losses["features"] == 0 for step in steps)


# --- as a file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "space"), [("dense", "z"), ("styled", "w"), ("styled", "w+"), ("styled", "z")])
def test_what_was_found_is_kept(kind: str, space: Space, tmp_path: Path):
    """Read again, it makes the very picture; also where the search was for a latent of a generator with styles."""
    generator = dense(classes=("cat", "dog")) if kind == "dense" else styled()
    step = best_of(
        project(generator, own_picture(generator, 1 if kind == "dense" else None), 3, space, weights=NARROW)
    )
    label = save_projection(generator, step, space, tmp_path / "w.safetensors")
    found = load_projection(generator, tmp_path / "w.safetensors")
    assert found.label == label == (None if step.label is None else generator.classes[step.label])
    labels = None if step.label is None else torch.tensor([step.label])
    with torch.no_grad():
        assert torch.equal(synthesize(generator, found.w, labels), step.image)


def test_of_another_generator_or_damaged_it_is_refused(tmp_path: Path):
    generator, file = styled(), tmp_path / "w.safetensors"
    with pytest.raises(HasamaError, match="not there"):
        load_projection(generator, file)
    step = best_of(project(generator, own_picture(generator), 0, "w", weights=NARROW))
    short = step.w[:, :5]
    wrong: list[tuple[Space, torch.Tensor]] = [
        ("z", short), ("w", short), ("w+", step.w), ("w+", step.w[:, None]), ("w", step.w[:, None]),
    ]  # fmt: skip
    for space, w in wrong:
        save_projection(generator, step._replace(w=w), space, file)
        with pytest.raises(HasamaError, match="another generator"):
            load_projection(generator, file)
    save_projection(generator, step, "w", file)
    with pytest.raises(HasamaError, match="another generator"):  # which has classes
        load_projection(dense(classes=("cat", "dog")), file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(HasamaError, match="can be read"):
        load_projection(generator, file)
