"""hasama sweep: what it varies, how processes share it, what is pruned, and what becomes of those that are killed."""

import dataclasses
import json
import os
import re
import shlex
import signal
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

optuna = pytest.importorskip("optuna")

from advice import TINY, advise, begin_sweep, without_optuna  # noqa: E402
from command import Started, forked, refused  # noqa: E402
from hasama.cli.commands.sweep import _table  # noqa: E402
from hasama.cli.commands.sweep import sweep as command  # noqa: E402
from hasama.cli.commands.train import TrainingFlags  # noqa: E402
from hasama.errors import HasamaError  # noqa: E402
from hasama.pictures.cache import open_pictures  # noqa: E402
from hasama.pictures.dataset import Pictures  # noqa: E402
from hasama.presets import RECIPES, flags_of_difference, train_command  # noqa: E402
from hasama.recipe import DEFAULTS, Recipe  # noqa: E402
from hasama.runs.folder import Run  # noqa: E402
from hasama.runs.session import train  # noqa: E402
from hasama.training.game import Step  # noqa: E402
from hasama.tuning.search_space import MORE, SENSITIVE, Choice, Span, middle, search_space, vary  # noqa: E402
from hasama.tuning.storage import beating, open_storage, url_of  # noqa: E402
from hasama.tuning.study import (  # noqa: E402
    DEATHS_MOST,
    Memory,
    Outcome,
    agree,
    conclude,
    count,
    finished,
    folder_number,
    give_back,
    open_memory,
    outcomes,
    take,
    take_up_again,
)
from hasama.tuning.sweep import RUNGS, Event, Sweep, begin_or_resume, ranked, sweep  # noqa: E402
from hasama.tuning.sweep_chart import look, plot_sweep  # noqa: E402

SMALL = RECIPES["dcgan"].but(
    size="8", width=4, latent_size=8, batch=8, precision="fp32", kimg=0.064, health_kimg=0.0, sample_kimg=100.0
)


# --- the command, in one process ------------------------------------------------------------------


def test_a_sweep_leaves_the_best_recipe_and_a_plot(pictures: Path, tmp_path: Path):
    """With the real figure: KID in VGG19's features."""
    out = tmp_path / "sweep"
    flags = ["dcgan", *TINY, "--kimg", 0.064, "--fakes", 20, "--search", "generator-lr,augment", "--out", out]
    done = advise("sweep", pictures, *flags, "--trials", 1)
    assert done.returncode == 0, done.stderr
    assert (out / "sweep.png").stat().st_size > 10_000
    best = Recipe.from_dict(json.loads((out / "best.json").read_text()))
    assert best.kimg == RECIPES["dcgan"].kimg  # the length is the preset's, not a trial's
    assert best.size == "16"
    command = done.stdout.splitlines()[-1].strip()
    assert command.startswith(f"hasama train {pictures} dcgan --size 16 --width 4")
    for words in ("KID x 1000 in vgg19-relu5_1-mean", "trial 0: complete", "generator_lr 0.0002  augment none"):
        assert words in done.stdout
    assert Run(out / "trial-0000").images_seen() == 64


def test_bad_input_is_refused(pictures: Path, tmp_path: Path):
    refused(advise("sweep", pictures, "dcgna", "--out", tmp_path / "sweep"), "Did you mean dcgan?")
    with pytest.raises(HasamaError, match="There are no pictures at"):
        command(str(tmp_path / "nowhere"), out=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
    (tmp_path / "file").write_text("a")
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted((pictures / "dark").iterdir())[:5]:
        (few / file.name).write_bytes(file.read_bytes())
    for words, source, flags in (
        ("--trials", pictures, {"trials": 0}),
        ("Did you mean generator_lr", pictures, {"search": "generatorlr"}),
        ("has no effect", pictures, {"search": "gamma"}),
        ("at least 8 pixels", pictures, {"changes": TrainingFlags(size="7")}),
        ("5 pictures are too few", few, {"changes": TrainingFlags(size="16")}),
        ("Cannot write", pictures, {"out": tmp_path / "file" / "sweep"}),
    ):
        with pytest.raises(HasamaError, match=words):
            command(str(source), "dcgan", **{"out": tmp_path / "sweep", **flags})


def test_without_optuna_one_line_explains(pictures: Path, tmp_path: Path):
    done = forked(without_optuna, "sweep", pictures, "--out", tmp_path / "sweep")
    refused(done, "hasama[sweep]")


# --- the command, in several processes ------------------------------------------------------------


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def read_until(process: Started, words: str) -> str:
    """What a process says up to a line with these words."""
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(said)


def state_of(run: Run) -> dict[str, Any]:
    return torch.load(run.checkpoint, weights_only=True)["game"]


def same_tensors(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_tensors(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_tensors, one, other))
    return one == other


def study_of(out: Path, file: str) -> Any:
    storage = url_of(str(out / file))
    if file.endswith(".journal"):
        storage = open_storage(storage, 60, lambda *given: None)
    return optuna.load_study(study_name="sweep", storage=storage)


def test_two_processes_share_a_journal(pictures: Path, tmp_path: Path):
    """On a file system that machines share, where SQLite must not be."""
    out = tmp_path / "sweep"
    flags = ["--kimg", 0.16, "--trials", 4, "--search", "generator_lr", "--storage", out / "s.journal"]
    processes = [begin_sweep(pictures, out, *flags) for _ in range(2)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sorted(re.findall(r"^trial (\d):", "\n".join(said), re.MULTILINE)) == list("0123"), said
    trials = study_of(out, "s.journal").trials
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert not list(out.glob(".sweep*"))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["sweep.db", "sweep.journal"])
def test_two_processes_and_one_is_killed(file: str, pictures: Path, tmp_path: Path):
    """The other one takes its trial up in the same folder, exactly, and does all the rest."""
    out = tmp_path / "sweep"
    flags = ["--kimg", 1.6, "--trials", 3, "--patience", 2, "--search", "generator_lr,beta1", "--storage", out / file]
    first = begin_sweep(pictures, out, *flags, "--checkpoint-minutes", 0.003)
    said = read_until(first, "at 0.4 kimg")
    second = begin_sweep(pictures, out, *flags, "--checkpoint-minutes", 0.003)
    first.kill()
    killed = int(said.splitlines()[-1].split()[1].rstrip(":"))
    stood = Run(out / f"trial-{killed:04d}").images_seen()
    assert 400 <= stood < 1600
    told, _ = second.communicate(timeout=120)
    first.communicate()
    assert second.returncode == 0, told
    assert f"trial {killed}, taken up again" in told
    trials = study_of(out, file).trials
    states = [trial.state.name for trial in trials]
    assert states.count("FAIL") == 1
    assert states.count("COMPLETE") + states.count("PRUNED") == 3
    failed = next(trial for trial in trials if trial.state.name == "FAIL")
    again = next(trial for trial in trials if trial.user_attrs.get("folder") == killed)
    assert failed.number == killed
    assert again.params == failed.params
    assert len(list(out.glob("trial-*"))) == 3
    # and the run is the one that nobody killed
    run, whole = Run(out / f"trial-{killed:04d}"), Run(tmp_path / "whole")
    torch.set_num_threads(run.threads() or 1)
    deque(train(str(pictures), run.recipe().but(kimg=run.images_seen() / 1000), whole.folder), maxlen=0)
    assert same_tensors(state_of(run), state_of(whole))


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(pictures: Path, tmp_path: Path):
    out = tmp_path / "sweep"
    flags = ["--kimg", 1.6, "--trials", 1, "--search", "generator_lr"]
    process = begin_sweep(pictures, out, *flags)
    said = read_until(process, "at 0.2 kimg")
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said + rest
    assert "trial 0: saved, to be taken up again" in rest
    assert "The same command goes on" in rest
    stood = Run(out / "trial-0000").images_seen()
    assert 200 <= stood < 1600
    process = begin_sweep(pictures, out, *flags)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "trial 0, taken up again" in told
    assert "at 0.2 kimg" not in told.partition("trial 0: complete")[0]  # what was judged is not judged again
    assert Run(out / "trial-0000").images_seen() == 1600


# --- the same in Python ---------------------------------------------------------------------------


@pytest.fixture
def plan(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Three trials of eight steps; without the plots, which would take longer than they do."""
    monkeypatch.setattr("hasama.runs.fitting.plot_losses", lambda *given: None)
    monkeypatch.setattr("hasama.tuning.sweep.plot_sweep", lambda *given: None)
    out = tmp_path / "sweep"
    space = search_space(SMALL, ["generator_lr", "beta1"])
    return Sweep(str(pictures), SMALL, space, out, url_of(str(out / "sweep.db")), "some", 3, 60, SMALL.but(kimg=9.0))


@pytest.fixture
def small(pictures: Path) -> Pictures:
    return open_pictures(str(pictures), SMALL)


def memory_of(plan: Sweep) -> Memory:
    return open_memory(plan.storage, plan.name, plan.out, plan.space, plan.trials, plan.patience, plan.recipe.seed)


def ended(events: list[Event]) -> list[Outcome]:
    assert events[-1].kind == "over"
    return list(events[-1].found)


def test_every_trial_is_judged_at_every_rung(plan: Sweep, small: Pictures):
    events = list(sweep(plan, small, lambda generator: 1.0, "cpu"))
    found = ended(events)
    assert [one.state for one in found] == ["complete"] * 3
    assert all(one.figures == dict.fromkeys(range(1, len(RUNGS) + 1), 1.0) for one in found)
    assert found[0].parameters == {"generator_lr": 2e-4, "beta1": 0.5}  # the preset itself comes first
    assert len({one.parameters["generator_lr"] for one in found}) == 3
    assert [event.kind for event in events if event.kind != "step"] == [
        *(["begun", *["scored"] * len(RUNGS), "complete"] * 3), "over",
    ]  # fmt: skip
    assert sum(event.kind == "step" for event in events) == 3 * 8
    assert all(Run(plan.out / f"trial-{n:04d}").images_seen() == 64 for n in range(3))


def test_what_is_worse_than_the_median_is_pruned(plan: Sweep, small: Pictures):
    calls = iter(range(1000))
    found = ended(list(sweep(plan._replace(trials=7), small, lambda generator: float(next(calls)), "cpu")))
    assert [one.state for one in found] == ["complete"] * 4 + ["pruned"] * 3
    assert found[-1].reason == "worse than the median at 0.008 kimg"
    assert list(found[-1].figures) == [1]
    assert ranked(found)[0].number == 0


def test_what_was_good_at_first_and_has_become_worse_is_pruned(plan: Sweep, small: Pictures):
    """Its figure at the rung counts, not its best one so far."""

    def score(generator: object) -> float:
        last = sorted(plan.out.glob("trial-*"))[-1]
        if last.name == "trial-0004":
            return 0.5 if Run(last).images_seen() == 8 else 2.0
        return 1.0

    found = ended(list(sweep(plan._replace(trials=5), small, score, "cpu")))
    assert [one.state for one in found] == ["complete"] * 4 + ["pruned"]
    assert (found[-1].reason, found[-1].figures) == ("worse than the median at 0.016 kimg", {1: 0.5, 2: 2.0})


@pytest.mark.parametrize(("seen", "judged"), [(8, 0), (24, 2), (32, 2), (64, 4)])
def test_a_trial_that_is_stopped_alone_ends_and_the_sweep_goes_on(
    plan: Sweep, small: Pictures, seen: int, judged: int
):
    """By `hasama stop` of its folder: what it is then like says nothing of the rung that it did not reach."""
    run, events = Run(plan.out / "trial-0000"), []
    for event in sweep(plan._replace(trials=2), small, lambda generator: 1.0, "cpu"):
        events.append(event)
        its_own = not (plan.out / "trial-0001").exists()
        if its_own and event.step is not None and event.step.images_seen == seen:
            run.stop()
    first, second = ended(events)
    assert (second.state, len(second.figures)) == ("complete", 4)
    assert (first.state, list(first.figures)) == ("complete" if seen == 64 else "pruned", [1, 2, 3, 4][:judged])
    assert first.reason == ("" if seen == 64 else f"stopped by hand at {seen / 1000:g} kimg")
    assert run.images_seen() == seen


def test_the_doctor_prunes(plan: Sweep, small: Pictures):
    def score(generator: object) -> float:
        newest = sorted(plan.out.glob("trial-*"))[-1]
        if newest.name == "trial-0001":
            finding = {"name": "collapse", "severity": "serious", "images_seen": 8, "explanation": "All alike."}
            (newest / "health.jsonl").write_text(json.dumps(finding) + "\n")
        else:
            finding = {"name": "slow", "severity": "warning", "images_seen": 8, "explanation": "Slow."}
            (newest / "health.jsonl").write_text(json.dumps(finding) + "\n")
        return 1.0

    found = ended(list(sweep(plan, small, score, "cpu")))
    assert [one.state for one in found] == ["complete", "pruned", "complete"]
    assert found[1].reason == "the doctor: collapse at 0.008 kimg"
    assert look(found[1]) == "the doctor"
    assert Run(plan.out / "trial-0001").images_seen() < 64


def test_a_breakdown_ends_a_trial_and_not_the_sweep(plan: Sweep, small: Pictures, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Step, "figures", lambda step: {"loss_generator": float("nan")})
    found = ended(list(sweep(plan, small, lambda generator: 1.0, "cpu")))
    assert [one.state for one in found] == ["pruned"] * 3
    assert all(look(one) in ("broke down", "the doctor") for one in found)
    assert not (plan.out / "best.json").exists()


def test_pictures_that_are_no_numbers_are_pruned(plan: Sweep, small: Pictures):
    found = ended(list(sweep(plan._replace(trials=1), small, lambda generator: float("nan"), "cpu")))
    assert found[0].reason == "its pictures are no longer numbers"


def test_other_errors_end_the_sweep_but_keep_the_trial(plan: Sweep, small: Pictures):
    def broken(generator: object) -> float:
        raise HasamaError("no room")

    with pytest.raises(HasamaError, match="no room"):
        list(sweep(plan, small, broken, "cpu"))
    memory = memory_of(plan)
    assert count(memory)["WAITING"] == 1
    found = ended(list(sweep(plan, small, lambda generator: 1.0, "cpu")))
    assert [one.state for one in found] == ["complete"] * 3


def test_what_was_drawn_and_cannot_be_is_pruned(plan: Sweep, small: Pictures):
    """Else the sweep would end there again and again."""
    odd = plan._replace(space={"label_smoothing": Choice((0.0, 0.1))}, recipe=SMALL.but(objective="relativistic"))
    found = ended(list(sweep(odd._replace(trials=4), small, lambda generator: 1.0, "cpu")))
    assert {(one.parameters["label_smoothing"], one.state) for one in found} == {(0.0, "complete"), (0.1, "pruned")}
    assert all("it cannot be so: " in one.reason for one in found if one.state == "pruned")


def test_breaking_off_gives_the_trial_back(plan: Sweep, small: Pictures):
    events = sweep(plan, small, lambda generator: 1.0, "cpu")
    for event in events:
        if event.kind == "scored":
            break
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    (one,) = [one for one in outcomes(memory_of(plan)) if one.number == 0]
    assert (one.state, one.figures) == ("waiting", {1: 1.0})


def test_stopping_saves_and_the_same_sweep_goes_on(plan: Sweep, small: Pictures):
    judged: list[int] = []

    def score(generator: object) -> float:
        judged.append(Run(plan.out / "trial-0000").images_seen())
        return 1.0

    events = list(sweep(plan._replace(trials=1), small, score, "cpu", stop=lambda: len(judged) == 2))
    assert [event.kind for event in events][-2:] == ["interrupted", "over"]
    assert [one.state for one in ended(events)] == ["waiting"]
    found = ended(list(sweep(plan._replace(trials=1), small, score, "cpu")))
    assert [one.state for one in found] == ["complete"]
    assert judged == [8, 16, 32, 64]  # nothing is judged twice


def test_a_sweep_that_is_broken_off_is_the_same_sweep(plan: Sweep, small: Pictures):
    """As often as it may be: the same folders, and the same values in them."""

    def score(generator: Any) -> float:
        return float(next(iter(generator.network.parameters())).abs().mean())

    def swept(plan: Sweep, breaks: int) -> list[tuple[int, dict[str, Any], dict[int, float]]]:
        for _ in range(breaks):
            begun = sweep(plan, small, score, "cpu")
            next(event for event in begun if event.kind == "scored")
            begun.close()  # pyright: ignore[reportAttributeAccessIssue]
        found = ended(list(sweep(plan, small, score, "cpu")))
        return [(one.number, one.parameters, one.figures) for one in found]

    other = plan._replace(out=plan.out.with_name("other"))
    other = other._replace(storage=url_of(str(other.out / "sweep.db")))
    whole = swept(plan, 0)
    assert [number for number, *_ in whole] == [0, 1, 2]
    assert swept(other, 4) == whole


def test_the_sweep_keeps_its_terms(plan: Sweep, small: Pictures):
    list(sweep(plan._replace(trials=1), small, lambda generator: 1.0, "cpu"))
    again = list(sweep(plan._replace(trials=1), small, lambda generator: 1.0, "cpu"))
    assert [event.kind for event in again] == ["over"]  # there is nothing left to do
    for other, words in (
        (plan._replace(recipe=SMALL.but(width=8)), "another recipe"),
        (plan._replace(fakes=40), "another count of --fakes"),
        (plan._replace(space=search_space(SMALL, ["beta1"])), "another choice of parameters"),
    ):
        with pytest.raises(HasamaError, match=words):
            list(sweep(other, small, lambda generator: 1.0, "cpu"))
    changed = dataclasses.replace(small, report=dataclasses.replace(small.report, digest="0"))
    with pytest.raises(HasamaError, match="another set of pictures"):
        list(sweep(plan, changed, lambda generator: 1.0, "cpu"))


# --- the study ------------------------------------------------------------------------------------


@pytest.fixture(params=["sweep.db", "sweep.journal"])
def shared(plan: Sweep, request: pytest.FixtureRequest) -> Sweep:
    """The plan, in a database or in a journal."""
    return plan._replace(storage=url_of(str(plan.out / request.param)))


def test_processes_draw_different_points_and_not_too_many(shared: Sweep):
    plan = shared
    one, other = memory_of(plan), memory_of(plan)
    agree(one, {}, middle(SMALL, plan.space))
    agree(other, {}, middle(SMALL, plan.space))  # puts the preset in only once
    trials = [take(one), take(other), take(one)]
    rates = {trial.params["generator_lr"] for trial in trials if trial}
    assert len(rates) == 3
    assert take(other) is None
    assert not finished(other)
    for trial in trials:
        assert trial
        assert conclude(one, trial, 1.0)
    assert finished(other)


def test_what_a_silent_process_had_is_taken_up_with_its_figures(plan: Sweep):
    """In a journal, whose heartbeats are ours; Optuna's own, of a database, are tested with processes."""
    journal = plan._replace(storage=url_of(str(plan.out / "s.journal")), trials=1)
    one, other = memory_of(journal), memory_of(journal)
    agree(one, {}, middle(SMALL, plan.space))
    trial = take(one)
    assert trial
    trial.report(0.5, 1)
    assert take(other) is None
    (beat,) = plan.out.glob(".s.journal.beats/*")
    os.utime(beat, (then := beat.stat().st_mtime - plan.patience - 5, then))
    with beating(one.study, trial, patience=2):
        time.sleep(0.7)
    assert take(other) is None  # its heart has beaten
    os.utime(beat, (then, then))
    again = take(other)
    assert again
    assert (folder_number(again), again.params) == (folder_number(trial), trial.params)
    assert [found.figures for found in outcomes(other)] == [{1: 0.5}]
    assert not conclude(one, trial, 1.0)
    assert conclude(other, again, 1.0)
    assert finished(one)


@pytest.mark.parametrize("file", ["s.journal", "sweep.db"])
def test_what_was_asked_for_by_a_process_that_is_killed_at_once_is_taken_up(file: str, plan: Sweep):
    one = memory_of(plan._replace(storage=url_of(str(plan.out / file)), trials=1))
    agree(one, {}, middle(SMALL, plan.space))
    one.study.ask()  # and no heartbeat: for Optuna it never dies
    other = memory_of(plan._replace(storage=url_of(str(plan.out / file)), trials=1))
    trial = take(other)
    assert trial
    assert (folder_number(trial), trial.params) == (0, middle(SMALL, plan.space))
    assert conclude(other, trial, 1.0)
    assert finished(other)


def test_a_trial_that_was_taken_over_is_let_go(shared: Sweep):
    plan = shared
    one, other = memory_of(plan), memory_of(plan)
    agree(one, {}, middle(SMALL, plan.space))
    trial = take(one)
    assert trial
    other.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    assert not conclude(one, trial, 1.0)
    give_back(one, trial)
    assert not count(one)["WAITING"]


def test_a_trial_that_kills_everybody_is_given_up(plan: Sweep):
    memory = memory_of(plan)
    agree(memory, {}, middle(SMALL, plan.space))
    for death in range(DEATHS_MOST):
        trial = take(memory)
        assert trial
        assert folder_number(trial) == 0
        failed = memory.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        take_up_again(memory.study, failed, died=True)
        assert count(memory)["WAITING"] == (death < DEATHS_MOST - 1)
    (found,) = outcomes(memory)
    assert (found.state, found.number) == ("pruned", 0)
    assert found.reason.startswith(f"{DEATHS_MOST} processes ended in the middle of it")


def test_a_run_that_another_process_still_holds_is_waited_for(plan: Sweep, small: Pictures):
    with Run(plan.out / "trial-0000").held():
        events = sweep(plan._replace(trials=1), small, lambda generator: 1.0, "cpu")
        assert [next(events).kind for _ in range(2)] == ["begun", "waiting"]
    assert [one.state for one in ended(list(events))] == ["complete"]


def test_a_name_that_is_no_utf_8_is_one_of_a_journal_alone(plan: Sweep):
    folder = plan.out / os.fsdecode(b"f\xfcr")
    folder.mkdir(parents=True)
    with pytest.raises(HasamaError, match=r"sweep\.db cannot be a SQLite database: .*\.journal"):
        url_of(str(folder / "sweep.db"))
    memory_of(plan._replace(storage=url_of(str(folder / "sweep.journal"))))
    assert (folder / "sweep.journal").exists()


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ("nonsense://me:secret@host/base", "cannot be opened"),
        ("sqlite:////proc/nowhere/sweep.db", "cannot be opened"),
        ("journal:///proc/nowhere/sweep.journal", "Cannot write /proc/nowhere/sweep.journal"),
        ("postgresql://me:secret@127.0.0.1:1/base", "storage postgresql://..."),
    ],
)
def test_a_storage_that_cannot_be_used_explains_itself(storage: str, words: str, plan: Sweep):
    with pytest.raises(HasamaError) as caught:
        memory_of(plan._replace(storage=storage))
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.skipif("HASAMA_TEST_POSTGRES" not in os.environ, reason="no PostgreSQL server to test with")
def test_the_same_over_postgresql(plan: Sweep, small: Pictures):
    shared = plan._replace(storage=os.environ["HASAMA_TEST_POSTGRES"], name=f"test-{os.getpid()}")
    found = ended(list(sweep(shared, small, lambda generator: 1.0, "cpu")))
    assert [one.state for one in found] == ["complete"] * 3


# --- what is varied -------------------------------------------------------------------------------


def test_names_of_parameters_are_fields():
    assert set(SENSITIVE | MORE) - {"beta1"} <= set(DEFAULTS)


def test_a_trial_takes_no_other_sweeps_run(plan: Sweep):
    """The figures of another recipe would stand in the table."""
    run = Run(plan.out / "trial-0000")
    trial: Any = SimpleNamespace(params={"generator_lr": 2e-4, "beta1": 0.5}, number=0)
    opening = begin_or_resume(plan, trial, run)
    for _ in opening.session("cpu", lambda: True):
        pass
    assert begin_or_resume(plan, trial, run).recipe == run.recipe()
    other: Any = SimpleNamespace(params={"generator_lr": 1e-3, "beta1": 0.5}, number=0)
    with pytest.raises(HasamaError, match="was started with other settings"):
        begin_or_resume(plan, other, run)
    with pytest.raises(HasamaError, match="of another sweep"):
        begin_or_resume(plan._replace(recipe=plan.recipe.but(kimg=2 * plan.recipe.kimg)), trial, run)


def test_no_batch_is_tried_that_cannot_be():
    """Batches of 4 cannot be taken in 4 parts of at least two."""
    recipe = RECIPES["r3gan"]
    assert SENSITIVE["batch"](recipe) == Choice((8, 4, 16))
    assert SENSITIVE["batch"](recipe.but(accumulate=4)) == Choice((8, 16))


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_preset_can_be_varied(name: str):
    """Every value of every parameter makes a recipe, and the preset's own lie within."""
    recipe = RECIPES[name].but(kimg=30.0)
    space = search_space(recipe)
    own = middle(recipe, space)
    assert {"generator_lr", "batch"} <= set(space)
    assert ("gamma" in space) == (recipe.penalty != "none")
    assert "ema_kimg" not in space  # a trial of 30 kimg cannot tell
    for parameter, values in space.items():
        if isinstance(values, Choice):
            assert own[parameter] in values.values
        else:
            assert values.low <= own[parameter] <= values.high  # pyright: ignore[reportOperatorIssue]
        for value in values.values if isinstance(values, Choice) else values:
            assert vary(recipe, {**own, parameter: value}) != recipe or value == own[parameter]


def test_what_was_asked_for_stays():
    two = RECIPES["stable"].but(discriminator_betas=(0.9, 0.99))
    assert "beta1" not in search_space(two)
    with pytest.raises(HasamaError, match="not alone"):
        search_space(two, ["beta1"])
    assert max(search_space(RECIPES["dcgan"].but(batch=40_000))["batch"].values) == 65_536  # type: ignore[union-attr]


def test_the_command_of_a_recipe_without_a_weight_where_the_preset_has_one():
    """What the recipe would have guessed is written out."""
    guessed = RECIPES["fast"].but(gamma=None, size="64")
    typed = shlex.split(train_command("x", guessed, "fast", Path("a place")))
    assert typed[typed.index("--gamma") + 1] == f"{guessed.penalty_weight:g}"
    assert typed[-2:] == ["--out", "a place"]
    without = RECIPES["fast"].but(gamma=None, gamma_final=1.0, penalty="none")
    assert "--gamma" not in shlex.split(train_command("x", without, "fast"))


def test_parameters_that_are_asked_for():
    assert search_space(RECIPES["r3gan"], ["width"])["width"] == Choice((16, 8, 32))
    assert isinstance(search_space(RECIPES["dcgan"], ["ema_kimg"])["ema_kimg"], Span)
    assert "ema_kimg" in search_space(RECIPES["dcgan"])
    for recipe, name in (("vae", "augment"), ("dcgan", "gamma"), ("dcgan", "critic_steps"), ("r3gan", "path_length")):
        with pytest.raises(HasamaError, match="has no effect"):
            search_space(RECIPES[recipe], [name])
    with pytest.raises(HasamaError, match="label-smoothing"):
        search_space(RECIPES["r3gan"], ["label_smoothing"])
    with pytest.raises(HasamaError, match="commas"):
        search_space(RECIPES["dcgan"], [])


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_command_of_a_recipe_gives_the_recipe(name: str, monkeypatch: pytest.MonkeyPatch):
    """What is typed is parsed to the same recipe."""
    from hasama.cli.app import app
    from hasama.cli.flags import given

    recipe = vary(RECIPES[name].but(mirror=True, kimg=1234567.0), {"generator_lr": 0.0012345678, "beta1": 0.25})
    _, *typed = shlex.split(train_command("a folder/of it's", recipe, name))
    _, bound, *_ = app.parse_args(typed)
    assert bound.args == ("a folder/of it's", name)
    assert RECIPES[name].but(**given(bound.kwargs["changes"])) == recipe
    assert flags_of_difference(recipe, RECIPES[name].but(mirror=True))[0] != "--mirror"


# --- the plot -------------------------------------------------------------------------------------


def test_the_plot_shows_every_way_to_end(tmp_path: Path):
    space = {"generator_lr": Span(1e-4, 1e-2), "augment": Choice(("none", "ada")), "batch": Choice((32, 16))}
    reasons = ["", "worse than the median at 3 kimg", "the doctor: collapse at 3 kimg", "broke down: a loss", "odd"]
    reasons.append("stopped by hand at 1 kimg")
    found = [
        Outcome(
            number, "pruned" if reason else "complete", {"generator_lr": 1e-3, "augment": "ada", "batch": 16},
            {} if number == 3 else {1: 10.0 * number - 1, 2: 0.1}, reason,
        )
        for number, reason in enumerate(reasons)
    ]  # fmt: skip
    drawn = ["worse than the median", "the doctor", "broke down", "broke down", "stopped by hand"]
    assert [look(one) for one in found][1:] == drawn
    plot_sweep(found, space, 30.0, RUNGS, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    plot_sweep(found[3:4], space, 30.0, RUNGS, tmp_path / "none.png")
    plot_sweep([], space, 30.0, RUNGS, tmp_path / "nothing.png")
    assert not (tmp_path / "nothing.png").exists()


@pytest.mark.parametrize("rates", [(2e-4,), (2e-4, 9.2e-4), (2e-4, 2.1e-4), (2e-4, 3e-3), (1e-5, 1e-2)])
def test_the_plot_has_numbers_under_every_parameter_and_whole_trials(
    rates: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Rates between two powers of ten had none at all."""
    from matplotlib.figure import Figure

    drawn: list[Figure] = []

    def kept(figure: Figure, *given: Any, **more: Any) -> None:
        figure.draw_without_rendering()
        drawn.append(figure)
        given[0].touch()

    monkeypatch.setattr(Figure, "savefig", kept)
    found = [Outcome(n, "complete", {"generator_lr": rate}, {1: 1.0}, "") for n, rate in enumerate(rates)]
    plot_sweep(found, {"generator_lr": Span(1e-5, 1e-2)}, 30.0, RUNGS, tmp_path / "sweep.png")
    history, _, parameter = drawn[0].axes
    assert parameter.get_xlabel() == "generator lr"
    low, high = parameter.get_xlim()
    shown = [tick.label1.get_text() for tick in parameter.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    assert 1 <= len(shown) <= 7
    assert "" not in shown
    assert len({*shown}) == len(shown)
    assert all(float(place).is_integer() for place in history.get_xticks())


def test_the_table_tells_the_figure_as_the_lines_did(capsys: pytest.CaptureFixture[str]):
    """Of 84,499.0 and 84,514.3 it said 8.45e+04 and 8.451e+04."""
    _table([Outcome(n, "complete", {"beta1": 0.5}, {1: figure}) for n, figure in ((1, 84.4990), (0, 84.5143))])
    told = capsys.readouterr().out
    assert [line.split()[:2] for line in told.splitlines()[-2:]] == [["1", "84,499.0"], ["0", "84,514.3"]]
