"""A run with --small-kimg: a stage of half the size, then full size with its weights; killed at any time."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from command import hasama, make_pictures, refused
from easel import hasama_here
from hasama.cli.arguments import advice_on_size
from hasama.cli.training_progress import watch_run
from hasama.cluster.job import UNFINISHED
from hasama.cluster.standing import standing
from hasama.errors import HasamaError
from hasama.presets import GENTLE, RECIPES, asked_recipe, flags_of_difference, half_size
from hasama.runs.autopilot import Intervention, in_force
from hasama.runs.folder import Run
from hasama.runs.reports.bug_report import bug_report
from hasama.runs.reports.diagnosis import as_text, diagnose
from hasama.runs.session import Earlier, resume, train
from hasama.runs.standing import check_buildable
from hasama.runs.tensorboard import to_tensorboard
from hasama.runs.transfer import inherit
from hasama.studio.watching import curves_of, state_of
from hasama.training.distilling import Distilled
from hasama.training.game import Record, Step
from hasama.training.setup import new_game

RECIPE = RECIPES["r3gan"].but(
    size="32x48",
    width=2,
    latent_size=4,
    kimg=0.04,
    small_kimg=0.048,
    batch=8,
    health_kimg=0.0,
    quality_kimg=0.0,
    checkpoint_minutes=0.0,
    precision="fp32",
    self_modulation=True,
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("p") / "pictures", 20, side=50)


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record], dict[str, Path]]:
    """The run that nothing interrupts, its records, and what stood on the disk at some moments of it."""
    place = tmp_path_factory.mktemp("runs")
    run, records, left = place / "whole", [], {}
    for number, record in enumerate(train(str(pictures), RECIPE, run)):
        records.append(record)
        if name := {0: "at once", 3: "small", 5: "small done", 8: "large"}.get(number):
            left[name] = Path(shutil.copytree(run, place / name))
    left["small over"] = Path(shutil.copytree(run / "small", place / "small over" / "small")).parent
    for file in ("recipe.json", "images.json"):
        shutil.copy(run / file, left["small over"])
    return run, records, left


def networks(run: Path) -> dict[str, torch.Tensor]:
    saved = Run(run).saved_game()
    return {f"{which}.{name}": one for which in ("generator", "discriminator") for name, one in saved[which].items()}


def test_the_stages_follow_each_other(whole: tuple[Path, list[Record], dict[str, Path]]):
    run, records, _ = whole
    first, then = records[:6], records[6:]
    assert all(isinstance(record, Earlier) for record in first)
    assert [record.step.images_seen for record in first if isinstance(record, Earlier)] == list(range(8, 49, 8))
    assert all(isinstance(record, Step) for record in then)
    assert [record.images_seen for record in records] == [0] * 6 + list(range(8, 41, 8))
    assert all("loss_generator" in record.figures() for record in first)
    small, large = Run(run).small(), Run(run)
    assert small.recipe() == RECIPE.but(size="16x24", kimg=0.048, small_kimg=0.0)
    assert (small.images_seen(), large.images_seen()) == (48, 40)
    assert large.recipe() == RECIPE
    assert [line["images_seen"] for line in large.log()][-1] == 40


def test_full_size_begins_with_what_was_learnt_and_goes_gently(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: dict[str, Any] = {}

    def remembered(game: Any, folder: str) -> Any:
        seen["told"] = inherit(game, folder)
        seen["stage"] = {name: one.clone() for name, one in game.pair.generator.stages[0].state_dict().items()}
        return seen["told"]

    monkeypatch.setattr("hasama.runs.session.inherit", remembered)
    recipe = RECIPE.but(generator_lr=5e-3, discriminator_lr=1e-4)
    run = tmp_path / "run"
    assert len(list(train(str(pictures), recipe, run))) == 11
    small = Run(run).small().saved_game()
    for name, one in seen["stage"].items():
        assert torch.equal(one, small["generator"][f"stages.0.{name}"]), name
    assert {"generator.basis", "discriminator.logit.weight"} <= set(seen["told"].taken)
    assert not [name for name in seen["told"].fresh if "stages.0" in name]
    groups = Run(run).saved_game()
    rates = [groups[f"{one}_optimizer"]["param_groups"][0]["lr"] for one in ("generator", "discriminator")]
    assert rates[0] <= GENTLE
    assert rates[1] <= 1e-4
    assert small["generator_optimizer"]["param_groups"][0]["lr"] > GENTLE


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("at once", marks=pytest.mark.slow),  # as small, from an earlier step
        "small",
        pytest.param("small done", marks=pytest.mark.slow),
        "small over",
        "large",
    ],
)
def test_killed_at_any_time_it_goes_on_to_the_same_end(
    moment: str, whole: tuple[Path, list[Record], dict[str, Path]], tmp_path: Path
):
    run, _, left = whole
    again = Path(shutil.copytree(left[moment], tmp_path / "again"))
    list(resume(again))
    for name, one in networks(run).items():
        assert torch.equal(one, networks(again)[name]), name
    for name, one in networks(run / "small").items():
        assert torch.equal(one, networks(again / "small")[name]), name


def test_before_full_size_is_played_what_is_new_learns_from_the_small_networks(pictures: Path, tmp_path: Path):
    """Whoever kills or stops it then has the same run in the end: it is learnt anew."""
    recipe, run, left = RECIPE.but(kimg=0.24), tmp_path / "run", tmp_path / "left"
    records = train(str(pictures), recipe, run)
    first = [next(records) for _ in range(8)]
    assert [isinstance(record, Distilled) for record in first] == [False] * 6 + [True] * 2
    assert [record.shown for record in first] == [0] * 8
    assert first[-1].figures().keys() == {"loss_generator", "loss_discriminator"}
    shutil.copytree(run, left)
    later = list(records)
    assert [isinstance(record, Distilled) for record in later] == [True] + [False] * 30  # a tenth of the steps: three
    assert not Run(left).checkpoint.exists()
    stopped = iter([False, True])
    assert len(list(resume(left, stop=lambda: next(stopped)))) == 2
    assert not Run(left).checkpoint.exists()
    assert len(list(resume(left))) == 33
    for name, one in networks(run).items():
        assert torch.equal(one, networks(left)[name]), name


@pytest.mark.parametrize(
    ("moment", "size", "kimg", "logged"),
    [("small", "16x24", 0.032, []), ("small over", "16x24", 0.048, [48]), ("large", "32x48", 0.024, [])],
)
def test_whoever_asks_sees_the_stage_that_it_is_at(
    moment: str, size: str, kimg: float, logged: list[int], whole: tuple[Path, list[Record], dict[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    run = whole[2][moment]
    monkeypatch.setattr("hasama.cli.terminal.console.width", 300)
    listed = hasama_here("runs", run).stdout
    assert size in listed
    assert f"{kimg:g}/{0.04 if moment == 'large' else 0.048:g}" in listed
    assert "stopped" in listed
    assert ("at half the size first" in listed) is (moment != "large")
    told = diagnose(Run(run)).to_dict()
    assert told["images_seen"] == sum(logged)
    assert (f"at {size} first" in as_text(diagnose(Run(run)))) is (moment != "large")
    seen = state_of(Run(run), "it")
    assert (1000 * seen["kimg"], seen["recipe"]["size"], seen["small"]) == (sum(logged), size, moment != "large")
    assert seen["status"] == ("paused" if logged else "begun")  # of the stage all is done, of the run nothing
    assert curves_of(Run(run))["images_seen"] == logged
    begun = Run(run).stage().checkpoint.stat().st_mtime
    assert standing(Run(run), begun - 1)[0] == UNFINISHED
    assert standing(Run(run), begun + 1)[0] == 1  # nothing new: another turn would be no better


def test_while_small_the_bar_has_a_rate_and_a_time_and_findings(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("hasama.cli.training_progress.LINE_SECONDS", 0.0)
    run = Run(tmp_path / "run")

    def with_a_finding() -> Iterator[Record]:
        for number, record in enumerate(train(str(pictures), RECIPE, run.folder)):
            if number == 2:
                finding = {"name": "nan", "severity": "serious", "images_seen": 24, "explanation": "It is broken."}
                run.small().append_finding(finding)
            yield record

    records = list(watch_run(with_a_finding(), RECIPE, 0, run))
    assert [record.images_seen for record in records] == [*range(8, 49, 8), *range(8, 41, 8)]
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("0.032/0.048 kimg (step 4)") and "left" in line for line in lines)
    assert any(line.startswith("[serious] nan at 0.024 kimg: It is broken.") for line in lines)
    assert "Now 32x48 pixels." in lines
    assert any(line.startswith("0.032/0.04 kimg (step 4)") and "left" in line for line in lines)


def test_a_run_without_a_generator_names_that_of_half_the_size(
    whole: tuple[Path, list[Record], dict[str, Path]],
):
    with pytest.raises(HasamaError, match=r"no generator yet.*small.generator.safetensors is one of half the size"):
        Run(whole[2]["small done"]).saved_generator()


def test_stopped_while_small_it_says_where_it_stands(pictures: Path, tmp_path: Path):
    asked = iter([False, False, True])
    records = list(train(str(pictures), RECIPE, tmp_path / "run", stop=lambda: next(asked, True)))
    assert len(records) == 3
    run = Run(tmp_path / "run")
    assert run.small().images_seen() == 24
    assert not run.checkpoint.exists()
    run.stop()  # as the studio does: it counts for both stages
    done = hasama("resume", run.folder)
    assert done.returncode == 0
    assert run.small().images_seen() == 48
    assert run.images_seen() == 40


def test_what_it_began_with_may_be_gone_by_then(pictures: Path, tmp_path: Path):
    began, run = tmp_path / "began", Run(tmp_path / "run")
    words = ["train", pictures, "r3gan", "--size", 16, "--width", 2, "--latent-size", 4, "--kimg", 0.016]
    assert hasama(*words[:3], "--size", 8, *words[5:], "--out", began).returncode == 0
    asked = iter([False, True])
    recipe = RECIPE.but(init_from=str(began), width=2, latent_size=4)
    list(train(str(pictures), recipe, run.folder, stop=lambda: next(asked, True)))
    assert run.small().images_seen()
    shutil.rmtree(began)
    done = hasama("resume", run.folder)
    assert done.returncode == 0, done.stderr
    assert run.images_seen() == recipe.images


def test_the_command_tells_of_the_stage_and_goes_on(pictures: Path, tmp_path: Path):
    words = ["train", pictures, "r3gan", "--size", 16, "--width", 2, "--latent-size", 4, "--small-kimg", 0.016]
    words += ["--kimg", 0.016, "--out", tmp_path / "run"]
    done = hasama(*words)
    assert done.returncode == 0, done.stderr
    assert "First 0.016 kimg of pictures of half the size" in done.stdout
    assert "already has its 0.016 kimg" in hasama(*words).stdout


@pytest.mark.parametrize(("size", "why"), [("10", "half of --size 10"), ("14x28", "half of --size 14x28")])
def test_a_size_that_cannot_be_halved_is_refused(size: str, why: str, pictures: Path, tmp_path: Path):
    words = ["train", pictures, "r3gan", "--size", size, "--small-kimg", 1, "--out", tmp_path / "run"]
    refused(hasama(*words), why)
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_nobody_is_told_to_throw_the_stage_away(whole: tuple[Path, list[Record], dict[str, Path]], pictures: Path):
    run = whole[2]["small"]
    words = ["train", pictures, "r3gan", *flags_of_difference(RECIPE.but(small_kimg=0.9), RECIPES["r3gan"]), "--out"]
    done = hasama_here(*words, run)
    assert done.returncode == 2
    assert "was started with other settings" in done.stderr
    assert "can be deleted" not in done.stderr


def test_pictures_that_changed_before_the_stage_began_are_refused(pictures: Path, tmp_path: Path):
    own = Path(shutil.copytree(pictures, tmp_path / "own"))
    assert len(list(train(str(own), RECIPE, tmp_path / "run", stop=lambda: True))) == 1
    shutil.rmtree(tmp_path / "run" / "small")  # as if it had been killed before
    Image.effect_noise((50, 50), 90).save(own / "new.png")
    with pytest.raises(HasamaError, match="have changed, or moved"):
        list(resume(tmp_path / "run"))


@pytest.mark.parametrize(
    ("flags", "near"),
    [
        (["--size", "8", "--small-kimg", "0.01"], "--size 16x16."),
        (["--size", "8", "--enlarge", "8"], "--size 64x64."),
        (["--size", "32", "--enlarge", "8"], "--size 64x64."),
        (["--size", "96x64", "--enlarge", "8", "--small-kimg", "0.01"], "--size 128x128."),
    ],
)
def test_the_size_that_is_offered_can_be_made(flags: list[str], near: str, pictures: Path, tmp_path: Path):
    """It is --size, not that of the small pictures."""
    command = ["train", pictures, "r3gan", "--kimg", "0.016", "--out", tmp_path / "run"]
    done = hasama(*command, *flags)
    refused(done, f"try {near}")
    check_buildable(
        RECIPE.but(
            size=near.split()[1].rstrip("."),
            enlarge=int(flags[3]) if "--enlarge" in flags else 1,
            small_kimg=0.01 if "--small-kimg" in flags else 0.0,
        )
    )


def test_a_base_must_fit_half_the_size(pictures: Path, tmp_path: Path):
    words = [
        "train",
        pictures,
        "--size",
        64,
        "--init-from",
        "portraits",
        "--small-kimg",
        1,
        "--out",
        tmp_path / "run",
    ]
    refused(hasama(*words), "--small-kimg begins with half of --size 64, which is impossible")
    assert not (tmp_path / "run").exists()


def test_what_the_autopilot_changed_while_small_holds_for_full_size(
    whole: tuple[Path, list[Record], dict[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = Run(Path(shutil.copytree(whole[2]["small over"], tmp_path / "run")))
    changed = {"finding": "x", "found_at": 8, "back_to": 0, "flags": "--gamma 77", "why": "y", "done": True}
    record = {"recipe": run.small().recipe().to_dict(), "interventions": [changed | {"changes": {"gamma": 77.0}}]}
    run.small().autopilot_file.write_text(json.dumps(record))
    played = []
    monkeypatch.setattr("hasama.runs.session.new_game", lambda *of: played.append(of[1]) or new_game(*of))
    list(resume(run.folder))
    assert [(one.gamma, one.small_kimg) for one in played] == [(77.0, 0.048)]
    told = as_text(diagnose(run))
    assert "At 0.008 kimg of half the size the autopilot found: x. It went back to 0 kimg with  --gamma 77" in told


def test_what_it_changed_at_full_size_holds_over_what_it_changed_while_small(tmp_path: Path):
    run = Run(tmp_path / "run")
    recipe = RECIPES["r3gan"].but(size="32", small_kimg=1.0, autopilot=True)
    for stage, rate in ((run.small(), 1e-3), (run, 2e-4)):
        assert in_force(run, recipe).generator_lr == GENTLE
        stage.folder.mkdir(parents=True, exist_ok=True)
        one = Intervention("x", 8, 0, {"generator_lr": rate}, "--generator-lr", "y", done=True)
        stage.autopilot_file.write_text(json.dumps({"recipe": recipe.to_dict(), "interventions": [one._asdict()]}))
    assert in_force(run, recipe).generator_lr == 2e-4
    assert in_force(run, recipe).init_from == str(run.small().folder)
    assert in_force(run, recipe.but(small_kimg=0.0)) == recipe.but(small_kimg=0.0)


@pytest.mark.parametrize("flags", [("--small-kimg", 1), ("--autopilot",)])
def test_a_job_of_several_processes_is_refused(flags: tuple[object, ...], pictures: Path):
    for several in (("--nodes", 2), ("--processes", 2)):
        done = hasama_here("job", "slurm", *several, "train", pictures, "r3gan", "--size", 32, *flags)
        assert done.returncode == 2
        assert f"{flags[0]} works in one process; these are 2" in done.stderr
    assert hasama_here("job", "slurm", "train", pictures, "r3gan", "--size", 32, *flags).returncode == 0


def test_a_report_tells_of_the_stage(whole: tuple[Path, list[Record], dict[str, Path]]):
    told = bug_report(whole[2]["small over"])["run"]["stage of half the size"]
    assert told["log"][-1]["images_seen"] == 48
    assert "stage of half the size" not in bug_report(whole[0])["run"]


def test_what_it_does_not_go_with_is_said(tmp_path: Path):
    with pytest.raises(HasamaError, match="--small-kimg means nothing without --architecture r3gan"):
        asked_recipe("dcgan", {"small_kimg": 1.0})
    one = tmp_path / "one.png"
    Image.effect_noise((200, 200), 90).save(one)
    with pytest.raises(HasamaError, match="--small-kimg is for many pictures"):
        list(train(str(one), RECIPE, tmp_path / "crops"))
    assert not Run(tmp_path / "crops").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"size": "128"}, True), ({"size": "64"}, False), ({"size": "128", "small_kimg": 1.0}, False),
        ({"size": "128", "init_from": "portraits"}, False), ({"size": "128", "architecture": "stylegan"}, False),
    ],
)  # fmt: skip
def test_who_begins_large_is_told(changes: dict[str, Any], told: bool):
    assert ("--small-kimg 70" in (advice_on_size(asked_recipe("r3gan", changes | {"kimg": 70.0})) or "")) is told


def test_half_of_a_recipe():
    recipe = RECIPES["vision-aided"].but(size="128", small_kimg=5.0, schedule_kimg=7.0)
    half = half_size(recipe)
    assert (half.size, half.kimg, half.small_kimg, half.schedule_kimg) == ("64", 5.0, 0.0, None)
    assert half.vision_penalty_weight * 4 == recipe.vision_penalty_weight
    assert half_size(RECIPES["r3gan"].but(size="64x128", small_kimg=1.0)).size == "32x64"
    enlarged = half_size(RECIPES["r3gan"].but(size="128", enlarge=2, small_kimg=1.0))
    assert (enlarged.size, enlarged.enlarge, enlarged.game_resolution) == ("32", 1, (32, 32))


def test_tensorboard_has_both_stages(pictures: Path, tmp_path: Path):
    recipe = RECIPE.but(sample_kimg=0.016)
    run = Run(tmp_path / "run")
    records = list(to_tensorboard(train(str(pictures), recipe, run.folder), run, recipe))
    assert len(records) == 11
    for stage in (run, run.small()):
        (file,) = (stage.folder / "tensorboard").iterdir()
        assert b"PNG" in file.read_bytes()  # a sample grid


def test_the_stage_is_gone_on_with_by_its_run(whole: tuple[Path, list[Record], dict[str, Path]]):
    run, _, _ = whole
    assert Run(run).small().how_to_go_on() == Run(run).how_to_go_on() == f"hasama resume {run}"
