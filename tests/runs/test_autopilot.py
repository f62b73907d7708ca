"""Autopilot: a planted collapse is answered, attempts are bounded, and a killed run goes on as if it had not been."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hasama
from hasama.errors import HasamaError
from hasama.health.check_generator import EARLY
from hasama.health.checks import examine
from hasama.health.findings import Finding
from hasama.health.remedies import Remedy
from hasama.runs.autopilot import (
    ATTEMPTS,
    Intervention,
    chosen,
    healthy_states,
    in_force,
    interventions,
    original_recipe,
    trusted,
    unanswered,
)
from hasama.runs.folder import Run
from histories import planted

# A generator that is far too fast for its judge collapses within a few thousand pictures.
ILL = hasama.Recipe(
    size="8", architecture="dense", width=8, batch=8, latent_size=8, kimg=6.4, health_kimg=0.32,
    generator_lr=0.5, ema_kimg=0.0, precision="fp32", autopilot=True, checkpoint_minutes=100.0, sample_kimg=100.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Bright and dark halves in four directions, with noise."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(20, 235, 8)
    kinds = [ramp[None, :], ramp[:, None], ramp[None, ::-1], ramp[::-1, None]]
    images = np.stack([np.broadcast_to(kinds[n % 4], (8, 8)) for n in range(400)])
    images = (images + rng.normal(0, 12, images.shape)).clip(0, 255).astype(np.uint8)
    file = tmp_path_factory.mktemp("ramps") / "ramps.npz"
    np.savez(file, images=images)
    return str(file)


@pytest.fixture(scope="module")
def whole(pictures: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The ill run, piloted to its end without a break."""
    run = Run(tmp_path_factory.mktemp("whole") / "run")
    for _ in hasama.train(pictures, ILL, run.folder):
        pass
    return run


def test_the_remedys_betas_count_though_it_goes_back(tmp_path: Path):
    """Of a healthy state the moments are taken, and not the settings, which the remedy has changed."""
    old = hasama.new_game(hasama.build(ILL, 1), ILL)
    list(hasama.play(old, [torch.rand(8, 1, 8, 8)] * 2))
    assert old.optimizers.generator.param_groups[0]["betas"] == ILL.generator_betas
    recipe = ILL.but(generator_betas=(0.0, 0.99), discriminator_betas=(0.1, 0.98), weight_decay=0.01)
    new = hasama.new_game(hasama.build(recipe, 1), recipe)
    new.load_state_dict(old.state_dict())
    list(hasama.play(new, [torch.rand(8, 1, 8, 8)]))
    for optimizer, betas in zip(new.optimizers, (recipe.generator_betas, recipe.discriminator_betas), strict=True):
        (group,) = optimizer.param_groups
        assert (group["betas"], group["weight_decay"]) == (betas, 0.01)
        assert all(state["step"] == 3 for state in optimizer.state.values())


def test_betas_that_were_changed_in_the_small_stage_are_in_force_in_the_next(tmp_path: Path):
    recipe = hasama.RECIPES["r3gan"].but(size="16", width=4, small_kimg=1.0, generator_betas=(0.5, 0.99))
    run = Run(tmp_path / "run")
    small = run.small()
    small.folder.mkdir(parents=True)
    one = Intervention("collapse", 800, 400, {"generator_betas": (0.0, 0.9)}, "--generator-betas 0 0.9", "", True)
    small.autopilot_file.write_text(json.dumps({"interventions": [one._asdict()]}))
    found = in_force(run, recipe)
    assert found.generator_betas == (0.0, 0.9)


def weights(run: Run) -> dict[str, torch.Tensor]:
    state = run.saved_game()["generator"]
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def test_a_planted_collapse_is_answered_and_written_down(whole: Run):
    run = whole
    done = interventions(run)
    assert done
    assert all(one.done for one in done)
    assert run.recipe().but(**{n: getattr(ILL, n) for n in run.recipe().differences(ILL)}) == ILL
    assert {*run.recipe().differences(ILL)} <= {name for one in done for name in one.changes}
    assert original_recipe(run) == ILL
    assert run.images_seen() == ILL.images
    abandoned = json.loads((run.folder / "autopilot" / "attempt-1.json").read_text())
    assert abandoned[-1]["images_seen"] == done[0].found_at
    assert done[0].found_at >= EARLY * ILL.batch  # what was a warning before is told again when it is serious
    # the log tells one story, from the beginning to the end
    seen = [line["images_seen"] for line in run.log()]
    assert seen == sorted(set(seen))
    assert seen[-1] == ILL.images


@pytest.mark.slow
def test_resume_is_exact_across_interventions(whole: Run, pictures: str, tmp_path: Path):
    broken = Run(tmp_path / "broken")
    first = interventions(whole)[0].found_at // ILL.batch
    for stop in (first // 2, first - first // 2 + 2, 7, 50):  # before, across, soon after, later
        for _ in itertools.islice(hasama.train(pictures, ILL, broken.folder), stop):
            pass
    for _ in hasama.train(pictures, ILL, broken.folder):
        pass
    assert interventions(broken) == interventions(whole)
    ours, theirs = weights(broken), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("lost", ["checkpoint", "recipe", "log"])
def test_an_intervention_that_was_cut_off_is_carried_out(pictures: str, tmp_path: Path, lost: str):
    run = Run(tmp_path / "run")
    for _ in itertools.islice(hasama.train(pictures, ILL.but(generator_lr=2e-4), run.folder), 130):
        pass
    states = healthy_states(run)
    assert states
    back = states[0]
    one = Intervention("mode-collapse", run.images_seen(), back, {"generator_lr": 1e-4}, "--generator-lr 0.0001", "")
    recipe = run.recipe().to_dict()
    run.autopilot_file.write_text(json.dumps({"recipe": recipe, "interventions": [one._asdict()]}))
    if lost == "log":  # everything else had been done
        run.cut_log(back)
    elif lost == "recipe":
        run.save_recipe(run.recipe().but(generator_lr=1e-4))
    steps = hasama.resume(run.folder)
    assert next(steps).images_seen == back + ILL.batch
    steps.close()  # type: ignore[attr-defined]
    assert run.recipe().generator_lr == 1e-4
    assert interventions(run)[0].done


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_run_that_was_sent_back_to_its_beginning_goes_on_from_there(pictures: str, tmp_path: Path, cut_off: bool):
    """Killed before anything was saved again: no generator stands there that seems to have lost its checkpoint."""
    run = Run(tmp_path / "run")
    for _ in itertools.islice(hasama.train(pictures, ILL.but(generator_lr=2e-4), run.folder), 60):
        pass
    assert run.generator.exists()
    one = Intervention("dead-start", run.images_seen(), 0, {"generator_lr": 1e-4}, "--generator-lr 0.0001", "")
    recipe = run.recipe().to_dict()
    run.autopilot_file.write_text(json.dumps({"recipe": recipe, "interventions": [one._asdict()]}))
    if cut_off:  # in the middle of it
        kept = run.folder / "autopilot"
        kept.mkdir()
        run.generator.replace(kept / "attempt-1.safetensors")
        run.checkpoint.replace(kept / "attempt-1.pt")
    assert next(hasama.resume(run.folder)).images_seen == ILL.batch
    assert sorted(file.name for file in (run.folder / "autopilot").iterdir())[-2:] == [
        "attempt-1.pt", "attempt-1.safetensors"
    ]  # fmt: skip


def test_attempts_are_bounded(pictures: str, tmp_path: Path):
    run = Run(tmp_path / "run")
    for _ in itertools.islice(hasama.train(pictures, ILL.but(generator_lr=2e-4), run.folder), 130):
        pass
    assert unanswered(run) is None
    line = {"loss_discriminator": 1e9, "loss_generator": 1e9, "logit_real": 1e9, "logit_fake": 1e9, "diversity": 1.0}
    for number in range(3):
        run.append_log({"images_seen": 2000 + 400 * number, "contrast": 1.0, "contrast_real": 0.3, **line})
    run.append_log({"images_seen": 3280, "loss_discriminator": 1.0})  # no look: the last one counts
    found = unanswered(run)
    assert found is not None
    assert (found.name, found.images_seen) == ("divergence", 2800)
    done = [Intervention("x", 100, 0, {}, "", "", True)._asdict() for _ in range(ATTEMPTS)]
    run.autopilot_file.write_text(json.dumps({"recipe": run.recipe().to_dict(), "interventions": done}))
    assert unanswered(run) is None


def test_what_is_over_when_it_is_switched_on_is_not_answered(pictures: str, tmp_path: Path):
    run, well = Run(tmp_path / "run"), ILL.but(generator_lr=2e-4, autopilot=False)
    for _ in itertools.islice(hasama.train(pictures, well, run.folder), 130):
        pass
    run.append_finding({"name": "divergence", "severity": "serious", "images_seen": 640, "since": 320,
                        "remedies": [{"changes": {"generator_lr": 1e-4}, "flags": "", "why": "slower"}]})  # fmt: skip
    run.save_recipe(well.but(autopilot=True))
    steps = hasama.resume(run.folder)
    assert next(steps).images_seen == 131 * ILL.batch
    assert next(steps).images_seen == 132 * ILL.batch
    steps.close()  # type: ignore[attr-defined]
    assert not interventions(run)


def test_the_game_that_is_given_up_for_a_new_beginning_is_kept(whole: Run):
    anew = [number for number, one in enumerate(interventions(whole), 1) if not one.back_to]
    assert anew
    for number in anew:
        assert (
            "generator" in torch.load(whole.folder / "autopilot" / f"attempt-{number}.pt", weights_only=True)["game"]
        )


def test_what_did_not_help_is_not_tried_first_again():
    slower, steady = Remedy({"generator_lr": 0.1}, "slower"), Remedy({}, "steady")
    first = Intervention("not-finite", 100, 0, {}, "", "slower", True)
    assert chosen([slower, steady], []) is slower
    assert chosen([slower, steady], [first]) is steady
    assert chosen([slower], [first]) is slower
    assert chosen([slower, steady], [first, first._replace(why="steady")]) is slower


def test_the_run_returns_to_the_last_state_that_can_be_trusted():
    finding = Finding("divergence", "serious", 650, 500, {}, "")
    states = [100, 300, 500, 700]
    again = [Intervention("divergence", 650, 500, {}, "", "", True)]
    other = [Intervention("mode-collapse", 650, 500, {}, "", "", True)]
    assert trusted(states, finding, [], 0) == trusted(states, finding, other, 0) == 500
    assert trusted(states, finding, again, 0) == 300
    assert trusted(states, finding, again, 400) == 0
    assert trusted(states, finding, [again[0]._replace(back_to=0)], 0) == 0
    assert trusted([], finding, [], 0) == 0


def run_of(folder: Path, used: int = 500, **figures: float) -> Run:
    """A run with eight looks, as far as the doctor reads it, at pictures that are ill or not."""
    well = {"diversity": 1.0, "distance": 0.2, "contrast": 1.0, "contrast_real": 0.4, "spread_real": 0.5}
    well |= {"repeats": 0.0, "covered": 0.8, "logit_real": 1.0, "logit_fake": -1.0}
    looks = [{"images_seen": 320 * n, **well, **figures, "distance": 1.0 - n / 20} for n in range(1, 17)]
    run = planted(folder, looks, used=used)
    run.save_recipe(ILL)
    return run


def test_too_few_pictures_are_no_reason_to_go_back(tmp_path: Path):
    assert unanswered(run_of(tmp_path / "one", 5)) is None
    found = unanswered(run_of(tmp_path / "two", 5, diversity=0.01, repeats=1.0))
    assert found is not None
    assert found.name == "mode-collapse"


def test_a_finding_without_a_remedy_is_let_be(tmp_path: Path):
    run = run_of(tmp_path, spread_real=0.01)
    assert [one.name for one in examine(run.log(), ILL, run.images()) if one.severity == "serious"] == ["all-alike"]
    assert unanswered(run) is None


@pytest.mark.parametrize("wrong", [{"back_to": None}, {"found_at": "soon"}, {"changes": 3}])
def test_an_intervention_without_its_numbers_is_an_error(tmp_path: Path, wrong: dict[str, Any]):
    one = Intervention("x", 100, 0, {}, "", "", True)._asdict() | wrong
    Run(tmp_path).autopilot_file.write_text(json.dumps({"recipe": {}, "interventions": [one]}))
    with pytest.raises(HasamaError, match="damaged"):
        interventions(Run(tmp_path))


def test_a_damaged_record_is_an_error(tmp_path: Path):
    run = Run(tmp_path)
    run.autopilot_file.write_text('{"interventions": [{"what": 1}]}')
    with pytest.raises(HasamaError, match="damaged"):
        interventions(run)


def test_autopilot_needs_looks():
    with pytest.raises(HasamaError, match="health-kimg"):
        ILL.but(health_kimg=0.0)


def test_numbers_that_break_down_are_answered(pictures: str, tmp_path: Path):
    run = Run(tmp_path / "run")
    wild = ILL.but(objective="least-squares", discriminator_lr=1.0, generator_lr=1.0, kimg=2.0)
    for _ in hasama.train(pictures, wild, run.folder):
        pass
    assert interventions(run)
    assert run.images_seen() >= wild.images
