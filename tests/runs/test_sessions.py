"""A training from Python: whatever breaks it off, its run is saved, and nothing of the caller's is changed."""

import json
import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import hasama
from command import forked, run_code
from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator
from hasama.health.quality import has_numbers
from hasama.pictures.dataset import Pictures
from hasama.runs import fitting
from hasama.runs.fitting import Looks
from hasama.runs.folder import Run
from hasama.runs.session import Opening
from hasama.runs.standing import end_idle_sessions

RECIPE = hasama.RECIPES["dcgan"].but(
    size="8", width=2, latent_size=4, batch=8, kimg=0.4, sample_kimg=0.4, precision="fp32", health_kimg=0,
    quality_kimg=0,
)  # fmt: skip
TRAINING = """
import json, os, signal, sys, threading, time
import hasama
recipe = hasama.Recipe.from_dict(json.loads(sys.argv[2]))
steps = hasama.train("digits", recipe, sys.argv[1])
"""


def started(code: str, run: Path, recipe: hasama.Recipe = RECIPE) -> subprocess.CompletedProcess[str]:
    return forked(run_code, TRAINING + code, run, json.dumps(recipe.to_dict()))


def test_what_somebody_still_has_is_saved_when_python_ends(tmp_path: Path):
    done = started("for step in steps:\n    if step.images_seen >= 80: break\n", tmp_path / "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert hasama.Run(tmp_path / "run").images_seen() == 80
    assert not (tmp_path / "run" / "error.json").exists()


def test_a_run_that_is_opened_anew_goes_on_where_it_was_broken_off(tmp_path: Path):
    first = hasama.train("digits", RECIPE, tmp_path / "run")
    assert [next(first).images_seen for _ in range(3)] == [8, 16, 24]
    again = hasama.resume(tmp_path / "run") if hasama.Run(tmp_path / "run").images_seen() else None
    assert again is None, "nothing is saved yet"
    anew = hasama.train("digits", RECIPE, tmp_path / "run")
    assert next(anew).images_seen == 32
    with pytest.raises(StopIteration):
        next(first)
    anew.close()  # type: ignore[attr-defined]
    assert hasama.Run(tmp_path / "run").images_seen() == 32


@pytest.mark.parametrize("change", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("mine"))])
def test_a_folder_that_is_deleted_or_moved_meanwhile_is_told_and_what_was_learnt_can_be_gone_on_with(
    change: Callable[[Path], object], tmp_path: Path
):
    run = Run(tmp_path / "run")
    steps = hasama.train("digits", RECIPE, run.folder)
    assert [next(steps).images_seen for _ in range(3)] == [8, 16, 24]
    change(run.folder)
    with pytest.raises(HasamaError, match=r"deleted or moved while it was trained\. The run stands at 0\.032 kimg"):
        next(steps)
    assert next(iter(hasama.resume(run.folder))).images_seen == 40


def test_a_training_that_began_in_the_place_of_another_is_left_alone(tmp_path: Path):
    run = Run(tmp_path / "run")
    first = hasama.train("digits", RECIPE, run.folder)
    next(first)
    shutil.rmtree(run.folder)
    started("next(steps); steps.close()", run.folder)
    there = {file.name: file.read_bytes() for file in run.folder.iterdir() if file.is_file()}
    with pytest.raises(HasamaError, match=r"another training has begun in its place\.$"):
        next(first)
    assert {file.name: file.read_bytes() for file in run.folder.iterdir() if file.is_file()} == there
    assert run.images_seen() == 8


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_a_notebook_saves_after_the_step(times: int, tmp_path: Path):
    """Where Python itself hears it. Pressed twice, it waits for nothing, and nothing half-done is saved."""
    code = f"""
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have told it to be ignored
from hasama.training import turns
whole, count = turns.both_turns, 0
def pressed(*given):
    global count
    count += 1
    if count == 5:
        for _ in range({times}): os.kill(os.getpid(), signal.SIGINT)
    return whole(*given)
turns.both_turns = pressed
try:
    for step in steps: pass
except KeyboardInterrupt:
    print("interrupted", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    done = started(code, tmp_path / "run")
    assert done.stdout == "interrupted True\n", done.stderr
    assert hasama.Run(tmp_path / "run").images_seen() == (40 if times == 1 else 0)


def test_a_run_that_was_begun_while_the_command_was_starting_is_not_its_own(tmp_path: Path):
    run = hasama.Run(tmp_path / "run")
    late = Opening.of("digits", RECIPE.but(seed=5), run)
    deque(late.scan(), maxlen=0)
    deque(hasama.train("digits", RECIPE.but(kimg=0.1), run.folder), maxlen=0)
    with pytest.raises(HasamaError, match="begun a run in"):
        next(late.session())
    assert run.recipe() == RECIPE.but(kimg=0.1)


def test_one_opening_can_be_gone_on_with(tmp_path: Path):
    opened = Opening.of("digits", RECIPE, hasama.Run(tmp_path / "run"))
    deque(opened.scan(), maxlen=0)
    for expected in (8, 16):
        with closing(opened.session()) as session:
            assert next(session).images_seen == expected


def test_threads_are_those_of_the_run_where_it_is_opened_anew(tmp_path: Path):
    """And the caller's again when that is over."""
    torch.set_num_threads(1)
    deque(hasama.train("digits", RECIPE.but(kimg=0.1), tmp_path / "run"), maxlen=0)
    torch.set_num_threads(2)
    longer = RECIPE.but(kimg=0.4)
    first = hasama.train("digits", longer, tmp_path / "run")
    next(first)
    assert torch.get_num_threads() == 1
    again = hasama.train("digits", longer, tmp_path / "run")
    next(again)
    assert torch.get_num_threads() == 1
    with suppress(StopIteration):
        next(first)
    again.close()  # type: ignore[attr-defined]
    assert torch.get_num_threads() == 2
    assert hasama.Run(tmp_path / "run").threads() == 1


def test_a_stage_of_half_the_size_is_saved_with_its_own_threads(tmp_path: Path):
    torch.set_num_threads(1)
    recipe = hasama.RECIPES["r3gan"].but(
        size="16", small_kimg=0.4, width=4, latent_size=4, batch=8, kimg=0.4, precision="fp32", health_kimg=0,
        quality_kimg=0,
    )  # fmt: skip
    session = hasama.train("digits", recipe, tmp_path / "run")
    next(session)
    session.close()  # type: ignore[attr-defined]
    torch.set_num_threads(2)
    session = hasama.train("digits", recipe, tmp_path / "run")
    next(session)
    end_idle_sessions()
    small = hasama.Run(tmp_path / "run").small()
    assert (small.images_seen(), small.threads()) == (16, 1)
    assert torch.get_num_threads() == 2


def test_a_recipe_that_changed_while_the_command_was_starting_is_kept(tmp_path: Path):
    run = hasama.Run(tmp_path / "run")
    deque(hasama.train("digits", RECIPE.but(kimg=0.1), run.folder), maxlen=0)
    opened = Opening.resumed(run)
    changed = run.recipe().but(generator_lr=1e-5)
    run.save_recipe(changed)
    with pytest.raises(HasamaError, match="changed the recipe of"):
        next(opened.session())
    assert run.recipe() == changed


def test_threads_and_random_numbers_are_the_callers(tmp_path: Path):
    torch.set_num_threads(1)
    deque(hasama.train("digits", RECIPE.but(kimg=0.1), tmp_path / "run"), maxlen=0)
    torch.set_num_threads(2)
    torch.manual_seed(1)
    expected = torch.randn(12)
    torch.manual_seed(1)
    mine = [torch.randn(1) for _ in hasama.train("digits", RECIPE.but(kimg=0.2), tmp_path / "run")]
    assert len(mine) == 12
    assert torch.equal(torch.cat(mine), expected)
    assert torch.get_num_threads() == 2


class Probe:
    """Looks, and notes when; there was no room for it at `fails`."""

    def __init__(self, fails: int = 0) -> None:
        self.looks: list[int] = []
        self.fails = fails

    def __call__(self, _: TrainedGenerator, images_seen: int) -> object:
        self.looks.append(images_seen)
        if images_seen == self.fails:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self

    def figures(self) -> dict[str, float]:
        return {"kid": 1.0}


@pytest.mark.parametrize("every", [100.0, 96.0])
def test_the_last_generator_is_looked_at_whatever_the_length(
    every: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    probe = Probe()
    monkeypatch.setattr("hasama.runs.session._looks", lambda *_: Looks(probe, every))  # type: ignore[arg-type]
    monkeypatch.setattr(fitting, "keep_if_best", lambda *_: None)
    deque(hasama.train("digits", RECIPE.but(kimg=0.2), tmp_path / "run"), maxlen=0)
    assert probe.looks == [104 if every == 100.0 else 96, *([192] if every == 96.0 else []), 200]
    log = hasama.Run(tmp_path / "run").log()
    assert (log[-1]["images_seen"], log[-1]["kid"]) == (200, 1.0)


def test_what_has_no_room_beside_the_training_costs_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    failing: Any = Probe(fails=104)
    monkeypatch.setattr("hasama.runs.session._looks", lambda *_: Looks(failing, 100.0))
    with pytest.raises(torch.OutOfMemoryError):
        deque(hasama.train("digits", RECIPE, tmp_path / "run"), maxlen=0)
    assert hasama.Run(tmp_path / "run").images_seen() == 104


def test_a_generator_without_numbers_is_known():
    game = hasama.new_game(hasama.build(RECIPE, 1), RECIPE)
    generator = TrainedGenerator(game.sampling_generator, RECIPE, 4, 1)
    assert has_numbers(generator)
    next(generator.network.parameters()).data[0] = float("nan")
    assert not has_numbers(generator)


def test_labels_are_only_for_networks_with_classes():
    """A DataLoader of most data sets gives them in any case."""

    class Own(torch.nn.Module):
        def __init__(self, ins: int, outs: int) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(ins, outs)

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            made = self.layer(given.flatten(1))
            return made.view(-1, 1, 8, 8) if made.shape[1] == 64 else made[:, 0]

    recipe = RECIPE.but(kimg=0.1)
    game = hasama.new_game(hasama.Pair(Own(4, 64), Own(64, 1), latent_size=4), recipe)
    given = [torch.rand(8, 1, 8, 8), torch.zeros(8, dtype=torch.long)]
    assert len(list(hasama.play(game, [given, given]))) == 2
    game = hasama.new_game(hasama.build(recipe, 1, classes=3), recipe)
    for labels in (torch.full((8,), 3), torch.zeros(8)):
        with pytest.raises(HasamaError, match="whole numbers from 0 to 2"):
            next(hasama.play(game, [[given[0], labels]]))


def test_pictures_that_have_changed_are_told_in_python_too(tmp_path: Path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(16):
        Image.new("L", (8, 8), 10 * number).save(folder / f"{number}.png")
    deque(hasama.train(folder, RECIPE.but(kimg=0.016), tmp_path / "run"), maxlen=0)
    for path in folder.iterdir():
        Image.new("L", (8, 8), 200).save(path)
    with pytest.warns(UserWarning, match="The files of .* have changed since this run began"):
        deque(hasama.train(folder, RECIPE.but(kimg=0.016), tmp_path / "run"), maxlen=0)


def test_pictures_tell_what_they_are():
    assert len(repr(hasama.open_pictures("digits", RECIPE))) < 120
    assert isinstance(hasama.open_pictures("digits", RECIPE), Pictures)


def test_a_game_tells_how_far_it_is_and_no_weights():
    recipe = hasama.RECIPES["dcgan"].but(size="16", width=4, batch=4)
    game = hasama.new_game(hasama.build(recipe, 1), recipe)
    list(hasama.play(game, [torch.rand(4, 1, 16, 16)] * 2))
    assert repr(game).endswith(", 8 images seen, 2 steps>")
    assert len(repr(game)) < 120
