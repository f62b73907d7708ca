"""Autopilot: a planted collapse is answered, attempts are bounded, and a killed run goes on as if it had not been."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import hasama
from hasama.doctor.autopilot import (
    ATTEMPTS,
    Intervention,
    chosen,
    healthy_states,
    interventions,
    original_recipe,
    trusted,
    unanswered,
)
from hasama.doctor.health import EARLY
from hasama.errors import HasamaError
from hasama.run import Run

# A generator that is far too fast for its judge collapses within a few thousand pictures.
ILL = hasama.Recipe(
    size="8", architecture="dense", width=8, batch=8, latent_size=8, kimg=6.4, probe_kimg=0.32,
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


def test_attempts_are_bounded(pictures: str, tmp_path: Path):
    run = Run(tmp_path / "run")
    for _ in itertools.islice(hasama.train(pictures, ILL.but(generator_lr=2e-4), run.folder), 20):
        pass
    finding = {"name": "x", "severity": "serious", "images_seen": 100, "since": 0, "remedies": [{"changes": {}}]}
    run.append_finding(finding)
    assert unanswered(run)
    done = [Intervention("x", 100, 0, {}, "", "", True)._asdict() for _ in range(ATTEMPTS)]
    run.autopilot_file.write_text(json.dumps({"recipe": run.recipe().to_dict(), "interventions": done}))
    assert unanswered(run) is None


def test_what_did_not_help_is_not_tried_first_again():
    slower, steady = {"changes": {"generator_lr": 0.1}, "why": "slower"}, {"changes": {}, "why": "steady"}
    first = Intervention("not-finite", 100, 0, {}, "", "slower", True)
    assert chosen([slower, steady], []) is slower
    assert chosen([slower, steady], [first]) is steady
    assert chosen([slower], [first]) is slower
    assert chosen([slower, steady], [first, first._replace(why="steady")]) is slower


def test_the_run_returns_to_the_last_state_that_can_be_trusted():
    finding = {"name": "divergence", "since": 500}
    states = [100, 300, 500, 700]
    again = [Intervention("divergence", 650, 500, {}, "", "", True)]
    other = [Intervention("mode-collapse", 650, 500, {}, "", "", True)]
    assert trusted(states, finding, [], 0) == trusted(states, finding, other, 0) == 500
    assert trusted(states, finding, again, 0) == 300
    assert trusted(states, finding, again, 400) == 0
    assert trusted(states, finding, [again[0]._replace(back_to=0)], 0) == 0
    assert trusted([], finding, [], 0) == 0


def test_too_few_pictures_are_no_reason_to_go_back(tmp_path: Path):
    run = Run(tmp_path)
    finding = {"name": "too-few", "severity": "serious", "images_seen": 1, "since": 0, "remedies": [{"changes": {}}]}
    run.append_finding(finding)
    assert unanswered(run) is None
    run.append_finding(finding | {"name": "mode-collapse"})
    assert unanswered(run) == finding | {"name": "mode-collapse"}


def test_a_finding_without_a_remedy_is_let_be(tmp_path: Path):
    run = Run(tmp_path)
    run.append_finding({"name": "all-alike", "severity": "serious", "images_seen": 100, "since": 0, "remedies": []})
    assert unanswered(run) is None


def test_a_damaged_record_is_an_error(tmp_path: Path):
    run = Run(tmp_path)
    run.autopilot_file.write_text('{"interventions": [{"what": 1}]}')
    with pytest.raises(HasamaError, match="damaged"):
        interventions(run)


def test_autopilot_needs_looks():
    with pytest.raises(HasamaError, match="probe-kimg"):
        ILL.but(probe_kimg=0.0)


def test_numbers_that_break_down_are_answered(pictures: str, tmp_path: Path):
    run = Run(tmp_path / "run")
    wild = ILL.but(objective="least-squares", discriminator_lr=1.0, generator_lr=1.0, kimg=2.0)
    for _ in hasama.train(pictures, wild, run.folder):
        pass
    assert interventions(run)
    assert run.images_seen() >= wild.images
