"""Keeping a run folder: what is written when, and what happens when numbers or consumers break off."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import hasama
from hasama.errors import HasamaError, LostProcessError
from hasama.pictures.report import Report
from hasama.runs.fitting import crossed, fit, health_interval
from hasama.runs.folder import Run
from hasama.runs.lines import NewLines, append_line, cut_lines
from hasama.runs.reports.plot import NAMES, plot_losses
from hasama.runs.standing import reconciled

RECIPE = hasama.Recipe(size="8", width=2, latent_size=4, batch=8, kimg=0.4, sample_kimg=0.1, precision="fp32")


class Record(NamedTuple):
    """A step of a game that is not really played."""

    images_seen: int
    shown: int
    loss: float

    def figures(self) -> dict[str, float]:
        return {"loss_generator": self.loss}


def new_run(folder: Path) -> Run:
    run = Run(folder)
    run.create(RECIPE, Report("none", 1, 1, (8, 8), 1, "crop", "key", "digest"), "none")
    return run


def new_game() -> hasama.Game:
    return hasama.new_game(hasama.build(RECIPE, 1), RECIPE)


def steps(game: hasama.Game, losses: Iterator[float]) -> Iterator[Record]:
    for loss in losses:
        game.images_seen += RECIPE.batch
        yield Record(game.images_seen, RECIPE.batch, loss)


def fitted(run: Run, game: hasama.Game, losses: Iterator[float], **more) -> Iterator:
    generator = hasama.TrainedGenerator(game.sampling_generator, RECIPE, 4, 1)
    return fit(run, game, steps(game, losses), RECIPE, generator, **more)


def test_writes_everything_and_stops_at_the_length(tmp_path: Path):
    run, game = new_run(tmp_path / "run"), new_game()
    passed_on = list(fitted(run, game, (0.5 for _ in iter(int, 1))))
    assert [record.images_seen for record in passed_on] == list(range(8, 401, 8))
    assert [line["images_seen"] for line in run.log()] == [80, 160, 240, 320, 400]
    assert sorted(file.name for file in run.samples.iterdir()) == [
        "000000000.png", "000000104.png", "000000200.png", "000000304.png", "000000400.png",
    ]  # fmt: skip
    assert run.images_seen() == 400
    assert run.loss_plot.exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_never_reaches_the_checkpoint(bad: float, tmp_path: Path):
    run, game = new_run(tmp_path / "run"), new_game()
    list(fitted(run, game, (0.5 for _ in range(20))))
    before = run.checkpoint.read_bytes(), run.generator.read_bytes()
    with pytest.raises(HasamaError, match=r"broke down at [0-9.]+ kimg: loss_generator") as told:
        list(fitted(run, game, iter([0.5] * 12 + [bad] * 400)))
    assert "untouched" in str(told.value)
    assert "--generator-lr" in str(told.value)
    assert (run.checkpoint.read_bytes(), run.generator.read_bytes()) == before
    torch.load(run.checkpoint, weights_only=True)


def test_weights_that_are_no_numbers_never_reach_the_checkpoint_either(tmp_path: Path):
    """The losses of the step that broke them are of before it."""
    run, game = new_run(tmp_path / "run"), new_game()
    list(fitted(run, game, (0.5 for _ in range(20))))
    before = run.checkpoint.read_bytes(), run.generator.read_bytes()

    def broken() -> Iterator[float]:
        yield from [0.5] * 12
        with torch.no_grad():
            next(game.pair.discriminator.parameters()).view(-1)[0] = float("nan")
        yield from [0.5] * 3

    with pytest.raises(HasamaError, match="the discriminator's weights are no numbers any more") as told:
        list(fitted(run, game, broken()))
    assert "untouched" in str(told.value)
    assert (run.checkpoint.read_bytes(), run.generator.read_bytes()) == before
    assert run.log()[-1]["not_finite"] == "discriminator"


def test_a_game_that_is_behind_its_run_does_not_overwrite_it(tmp_path: Path):
    run, game = new_run(tmp_path / "run"), new_game()
    list(fitted(run, game, (0.5 for _ in range(20))))
    before = run.checkpoint.read_bytes(), run.log()
    again = new_game()
    with pytest.raises(HasamaError, match=r"run of 0\.16 kimg.*at 0, would.*run\.load_game\(game\)"):
        list(fitted(run, again, (0.5 for _ in range(20))))
    assert (run.checkpoint.read_bytes(), run.log()) == before
    run.load_game(again)
    assert [record.images_seen for record in fitted(run, again, iter([0.5]))] == [168]


def test_batches_that_end_end_the_session(tmp_path: Path):
    run, game = new_run(tmp_path / "run"), new_game()
    assert len(list(fitted(run, game, iter([0.5] * 3)))) == 3
    assert run.images_seen() == 24


def test_a_first_breakdown_speaks_of_no_checkpoint(tmp_path: Path):
    run = new_run(tmp_path / "run")
    with pytest.raises(HasamaError, match=r"Nothing was saved yet") as told:
        list(fitted(run, new_game(), iter([float("nan")] * 400)))
    assert "untouched" not in str(told.value)


def test_one_wrong_bit_in_a_checkpoint_is_found(tmp_path: Path):
    """Torch itself reads on: it compares no checksums."""
    run, game = new_run(tmp_path / "run"), new_game()
    list(fitted(run, game, (0.5 for _ in range(400))))
    written = bytearray(run.checkpoint.read_bytes())
    run.load_game(game)
    tensor = next(iter(game.state_dict()["discriminator"].values())).numpy().tobytes()[:16]
    written[written.index(tensor)] ^= 1
    run.checkpoint.write_bytes(written)
    with pytest.raises(HasamaError, match="is damaged and cannot be read"):
        run.load_game(game)


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path):
    run, game = new_run(tmp_path / "run"), new_game()
    list(fitted(run, game, (0.5 for _ in range(80))))
    left = [run.samples / ".000000080.png.abc.png", run.folder / ".game.pt.abc"]
    for file in left:
        file.write_bytes(b"half")
    with run.held():
        assert not any(file.exists() for file in left)
    assert run.sample_file(0).exists()


def test_breaking_off_saves(tmp_path: Path):
    run, game = new_run(tmp_path / "run"), new_game()
    for record in fitted(run, game, (0.5 for _ in range(400))):
        if record.images_seen == 80:
            break
    assert run.images_seen() == 80
    assert run.sample_file(80).exists()


def test_a_step_that_fails_saves_nothing(tmp_path: Path):
    run, game = new_run(tmp_path / "run"), new_game()

    def losses() -> Iterator[float]:
        yield 0.5
        raise RuntimeError("in the middle of a step")

    with pytest.raises(RuntimeError):
        list(fitted(run, game, losses()))
    assert not run.checkpoint.exists()


def test_a_process_that_is_lost_in_the_middle_of_a_step_leaves_the_last_checkpoint(tmp_path: Path):
    run, game = new_run(tmp_path / "run"), new_game()

    def losses() -> Iterator[float]:
        yield 0.5
        raise LostProcessError("Another of the 2 processes is gone.")

    with pytest.raises(LostProcessError, match=r"gone\.$"):
        list(fitted(run, game, losses()))
    assert not run.checkpoint.exists()


def test_stops_when_asked(tmp_path: Path):
    run, game = new_run(tmp_path / "run"), new_game()
    assert len(list(fitted(run, game, (0.5 for _ in range(400)), stop=lambda: game.images_seen >= 40))) == 5
    run.stop()
    assert len(list(fitted(run, game, (0.5 for _ in range(400))))) == 1


def test_the_log_survives_a_torn_line(tmp_path: Path):
    run = new_run(tmp_path / "run")
    for seen in (8, 16, 24):
        run.append_log({"images_seen": seen, "loss_generator": 1.0})
    with run.log_file.open("a") as file:
        file.write('{"images_seen": 32, "loss_gen')
    assert [line["images_seen"] for line in run.log()] == [8, 16, 24]
    run.cut_log(16)
    assert [line["images_seen"] for line in run.log()] == [8, 16]


@pytest.mark.parametrize("every", [1, 8, 10, 13, 1000.5])
def test_crossed_counts_every_multiple_once(every: float):
    told = [seen for seen in range(8, 4001, 8) if crossed(Record(seen, 8, 0.0), every)]
    multiples = {int(np.ceil(k * every / 8)) * 8 for k in range(1, int(4000 / every) + 1)}
    assert told == sorted(seen for seen in multiples if seen <= 4000)


def test_short_runs_are_looked_at_more_often():
    recipe = hasama.RECIPES["dcgan"]
    assert [health_interval(recipe.but(kimg=kimg)) for kimg in (30.0, 99.0, 100.0, 1000.0)] == [
        3000,
        3000,
        5000,
        5000,
    ]
    assert health_interval(recipe.but(kimg=30.0, batch=256)) == 36 * 256  # looks nearer to each other do not count
    assert [health_interval(recipe.but(kimg=30.0, health_kimg=own)) for own in (0.0, 7.0)] == [0, 7000]


def test_plot_shows_the_losses(tmp_path: Path):
    log = [
        {"images_seen": 100 * i, "loss_generator": 1 + i % 3, "loss_discriminator": 0.5, "accuracy_real": 0.7}
        for i in range(300)
    ]
    plot_losses(log[:1], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    plot_losses(log, tmp_path / "loss.png")
    pixels = np.asarray(Image.open(tmp_path / "loss.png").convert("RGB"))
    coloured = (pixels.max(-1).astype(int) - pixels.min(-1)) > 60
    assert coloured[: len(pixels) // 2].sum() > 500  # the losses
    assert coloured[len(pixels) // 2 :].sum() > 300  # the accuracy


def test_many_losses_leave_their_panel_its_width(tmp_path: Path):
    """Their names stood in one row, which was as wide as the picture: the axes shrank to a strip."""
    log = [{"images_seen": 100 * i} | {name: 1.0 for name in NAMES if name.startswith("loss_")} for i in range(9)]
    plot_losses(log, tmp_path / "loss.png")
    pixels = np.asarray(Image.open(tmp_path / "loss.png").convert("L"))
    assert ((pixels < 60).mean(axis=1) > 0.6).any()  # the frame's lower edge


def test_a_run_of_a_version_that_kept_no_pictures_back_keeps_none_back(tmp_path: Path):
    run = new_run(tmp_path / "run")
    assert run.recipe().held_out == hasama.Recipe().held_out > 0
    told = json.loads((run.folder / "recipe.json").read_text())
    del told["recipe"]["held_out"]
    (run.folder / "recipe.json").write_text(json.dumps(told))
    assert run.recipe().held_out == 0
    assert reconciled(run, RECIPE, []) == run.recipe()  # the command that began it goes on with it
    with pytest.raises(HasamaError, match="held-out"):
        reconciled(run, RECIPE, ["held_out"])


def test_a_run_from_before_the_preset_had_a_larger_penalty_at_the_features_keeps_its_own(tmp_path: Path):
    now, run = hasama.RECIPES["vision-aided"], new_run(tmp_path / "run")
    run.save_recipe(now)
    told = json.loads((run.folder / "recipe.json").read_text())
    del told["recipe"]["vision_gamma"]
    (run.folder / "recipe.json").write_text(json.dumps(told))
    assert now.vision_penalty_weight > 1
    assert reconciled(run, now, []) == run.recipe() == now.but(vision_gamma=1.0)
    with pytest.raises(HasamaError, match="now --vision-gamma 10"):
        reconciled(run, now.but(vision_gamma=10.0), ["vision_gamma"])


def test_a_run_of_a_version_with_a_schedule_of_fixed_length_keeps_it_and_goes_on(tmp_path: Path):
    now = RECIPE.but(lr_final=0.25)
    run = new_run(tmp_path / "run")
    run.save_recipe(now.but(schedule_kimg=1000.0))
    kept = reconciled(run, now, [])  # the command that began it
    assert kept.schedule_images == 1e6
    with pytest.raises(HasamaError, match="schedule-kimg"):
        reconciled(run, now.but(schedule_kimg=7.0), ["schedule_kimg"])
    run.save_recipe(now.but(schedule_kimg=7.0))
    with pytest.raises(HasamaError, match="schedule-kimg"):
        reconciled(run, now, [])


def test_numbers_that_break_down_are_left_as_a_finding(tmp_path: Path):
    run = new_run(tmp_path / "run")
    with pytest.raises(HasamaError, match="broke down"):
        list(fitted(run, new_game(), iter([1.0] * 30 + [float("nan")] * 20)))
    (finding,) = [f for f in run.findings() if f["name"] == "not-finite"]
    assert finding["severity"] == "serious"
    assert run.log()[-1]["not_finite"] == "loss_generator"


def test_every_loss_has_a_name_in_the_plot():
    rules = Path(hasama.__file__).parent / "training"
    losses = {name for file in rules.rglob("*.py") for name in re.findall(r'"(loss_\w+)"', file.read_text())}
    assert {"loss_vision", "loss_heads"} <= losses <= {*NAMES}


def test_new_lines_are_those_by_which_a_file_has_grown(tmp_path: Path):
    file = tmp_path / "log.jsonl"
    new = NewLines(file)
    assert new() == []
    for seen in (1, 2):
        append_line(file, {"images_seen": seen})
    assert new() == [{"images_seen": 1}, {"images_seen": 2}]
    assert new() == []
    with file.open("a") as opened:
        opened.write('{"images_seen": 3}\n{"images')  # half a line, as while it is being written
    assert new() == [{"images_seen": 3}]
    with file.open("a") as opened:
        opened.write('_seen": 4}\n')
    assert new() == [{"images_seen": 4}]
    cut_lines(file, 2)
    assert new() == [{"images_seen": 1}, {"images_seen": 2}]  # it was cut: all of it again
