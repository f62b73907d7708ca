"""The real command on real runs, and reports on logs in which the truth is known."""

import base64
import json
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st

import hasama as package
from command import TINY, hasama, refused
from hasama.cli.app import app
from hasama.cli.flags import given
from hasama.errors import HasamaError
from hasama.health.explanations import TITLES
from hasama.health.findings import Finding
from hasama.health.remedies import finer
from hasama.presets import varied
from hasama.runs.autopilot import Intervention
from hasama.runs.folder import Run
from hasama.runs.reports.diagnosis import Seen, as_text, diagnose
from hasama.runs.reports.diagnosis_page import save_page
from hasama.runs.reports.plot import NAMES, SIGNALS, health_plot, logarithmic
from histories import CASES, late, planted, story


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A run that the command trained for a second, looked at every tenth of a kimg."""
    out = tmp_path_factory.mktemp("runs") / "run"
    cache = str(tmp_path_factory.mktemp("cache"))
    done = hasama(
        "train", pictures, "dcgan", *TINY, "--kimg", 0.64, "--health-kimg", 0.1, "--out", out, HASAMA_CACHE=cache
    )
    assert done.returncode == 0, done.stderr
    assert "too-few at" in done.stdout  # 40 pictures: told while training
    return out


def test_the_signals_are_in_the_log(trained: Path):
    looks = [line for line in Run(trained).log() if "diversity" in line]
    assert [line["images_seen"] for line in looks] == [112, 208, 304, 400, 512, 608]
    for name in ("gradient_generator", "weights_discriminator", "update_generator", "diversity_features", "repeats",
                 "nearest", "distance", "accuracy_real", "logit_real", "covered"):  # fmt: skip
        assert all(isinstance(line[name], float) for line in looks), name


def test_the_command_tells_and_writes_a_page(trained: Path, tmp_path: Path):
    done = hasama("doctor", trained, "--html", tmp_path / "report.html")
    assert done.returncode == 0
    assert "[warning] too few pictures" in done.stdout
    assert "--augment diffaugment" in done.stdout
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3  # the plot, the latest samples, those of the finding
    assert "too few pictures" in page
    assert "Traceback" not in done.stderr


def test_json_is_nothing_but_json(trained: Path):
    told = json.loads(hasama("doctor", trained, "--json").stdout)
    assert told["healthy"] is True
    assert told["judged"] is False  # 40 steps
    assert told["images_seen"] == 640
    (finding,) = [f for f in told["findings"] if f["name"] == "too-few"]
    assert finding["holds"]
    assert finding["remedies"][0]["changes"] == {"augment": "diffaugment"}


def test_what_it_refuses(trained: Path, tmp_path: Path):
    refused(hasama("doctor", tmp_path), "There is no run")
    refused(hasama("doctor", trained, "--html", tmp_path / "x.png"), "report.html")


def test_a_collapse_is_told_with_its_beginning_and_what_to_do(tmp_path: Path):
    run = planted(tmp_path / "run", story(late({"diversity": 0.05, "repeats": 1.0, "distance": 1.5})))
    diagnosis = diagnose(run)
    assert not diagnosis.healthy
    assert "mode collapse" in diagnosis.verdict
    (seen,) = [one for one in diagnosis.seen if one.finding.name == "mode-collapse"]
    assert seen.holds
    assert 100_000 < seen.first <= 125_000  # three looks after it began
    assert "--objective relativistic --penalty r1+r2" in as_text(diagnosis)


def test_the_remedy_is_a_whole_command(tmp_path: Path):
    run = planted(tmp_path / "run", story(late({"diversity": 0.05, "repeats": 1.0, "distance": 1.5})))
    run.save_recipe(package.RECIPES["dcgan"].but(kimg=200.0, generator_lr=0.3))
    diagnosis = diagnose(run)
    assert diagnosis.command is not None
    assert f"\n  {diagnosis.command}" in as_text(diagnosis)
    name, *typed = shlex.split(diagnosis.command)
    assert (name, typed[:3]) == ("hasama", ["train", "x", "stable"])
    assert typed.count("--generator-lr") <= 1
    _, bound, *_ = app.parse_args(typed)
    wanted = run.recipe().but(**diagnosis.seen[0].finding.remedies[0].changes)
    assert package.RECIPES["stable"].but(**given(bound.kwargs["changes"])) == wanted
    assert typed[-2:] == ["--out", str(tmp_path / "run-2")]  # in its own place the old run would be in the way
    (tmp_path / "run-2").mkdir()
    assert shlex.split(diagnose(run).command or "")[-1] == str(tmp_path / "run-3")
    assert diagnose(planted(tmp_path / "fine", story())).command is None


def test_since_is_when_it_began_and_found_is_when_it_was_seen(tmp_path: Path):
    run = planted(tmp_path / "run", story(late({"diversity": 0.05, "repeats": 1.0, "distance": 1.5})))
    (seen,) = [one for one in diagnose(run).seen if one.finding.name == "mode-collapse"]
    assert seen.begun == seen.finding.since == 105_000
    assert f"mode collapse, since 105 kimg, found at {seen.first / 1000:g} kimg" in as_text(diagnose(run))
    dead = {"contrast": 0.1, "diversity": 0.05, "distance": 2.0, "repeats": 1.0}
    assert "a dead start, since the beginning, found at 25 kimg" in as_text(
        diagnose(planted(tmp_path / "dead", story(lambda done: dead)))
    )


def test_of_a_long_log_only_what_matters_is_read_with_the_same_findings(tmp_path: Path, monkeypatch: Any):
    log = story(lambda done: CASES["discriminator-wins"][0](1.0) if 0.3 < done < 0.6 else {}, looks=80)
    run = planted(tmp_path / "run", log)
    short = diagnose(run).seen
    assert {one.finding.name for one in short} >= {"discriminator-wins"}
    monkeypatch.setattr("hasama.runs.reports.diagnosis.FULL", 10**9)
    assert diagnose(run).seen == short


def test_a_page_of_a_run_whose_name_is_no_unicode_and_whose_numbers_broke_down(tmp_path: Path):
    broken = {
        "images_seen": 205_000,
        "loss_generator": float("nan"),
        "diversity": float("inf"),
        "loss_discriminator": 1,
    }
    run = planted(tmp_path / "run\udcff", [*story(), broken])
    save_page(diagnose(run), tmp_path / "page.html")
    assert "run\\udcff" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_what_the_autopilot_did_is_told_and_what_was_before_is_not_judged(tmp_path: Path):
    ill = {"logit_real": 1e4, "logit_fake": -1e4}
    run = planted(tmp_path / "run", story(lambda done: ill if done < 0.5 else {}))
    assert "divergence" in [one.finding.name for one in diagnose(run).seen]
    done = Intervention("divergence", 150_000, 100_000, {}, "--generator-lr 0.0001", "slower", True)
    run.autopilot_file.write_text(json.dumps({"recipe": run.recipe().to_dict(), "interventions": [done._asdict()]}))
    diagnosis = diagnose(run)
    assert "divergence" not in [one.finding.name for one in diagnosis.seen]
    assert "At 150 kimg the autopilot found: the training diverges. It went back to 100 kimg" in as_text(diagnosis)
    assert diagnosis.to_dict()["autopilot"][0]["flags"] == "--generator-lr 0.0001"
    save_page(diagnosis, tmp_path / "page.html")
    assert "went back to 100 kimg" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("duplicates", [5, [5], {"a": 1}])
def test_a_damaged_list_of_images_is_an_error(tmp_path: Path, duplicates: Any):
    run = planted(tmp_path / "run", story())
    images = run.images() | {"duplicates": duplicates}
    (run.folder / "images.json").write_text(json.dumps(images))
    with pytest.raises(HasamaError, match="is damaged"):
        diagnose(run)


def test_what_is_over_is_told_as_over(tmp_path: Path):
    for_a_while = story(lambda done: {"overfit": 0.8} if 0.3 < done < 0.6 else {})
    diagnosis = diagnose(planted(tmp_path / "run", for_a_while))
    (seen,) = diagnosis.seen
    assert (seen.finding.name, seen.holds) == ("overfitting", False)
    assert diagnosis.verdict == "This training is healthy."
    assert "(over)" in as_text(diagnosis)


def test_a_healthy_run_is_called_healthy(tmp_path: Path):
    assert diagnose(planted(tmp_path / "run", story())).verdict == "This training is healthy."


@pytest.mark.parametrize(
    ("looks", "apart", "verdict"),
    [(14, 2560, "too early"), (15, 2560, "healthy."), (7, 6400, "too early"), (8, 6400, "healthy.")],
)
def test_a_short_run_is_not_called_healthy(tmp_path: Path, looks: int, apart: int, verdict: str):
    """600 steps of 64 pictures and 8 looks are wanted."""
    diagnosis = diagnose(planted(tmp_path / "run", story(looks=looks, apart=apart)))
    assert diagnosis.judged == (verdict == "healthy.")
    assert verdict in diagnosis.verdict
    assert (f"step {looks * apart // 64} and {looks} looks" in diagnosis.verdict) != diagnosis.judged


@pytest.mark.parametrize("log", [[], [{"images_seen": 640, "loss_generator": 1.0}]])
def test_too_little_to_judge(tmp_path: Path, log: list[dict[str, Any]]):
    diagnosis = diagnose(planted(tmp_path / "run", log))
    assert diagnosis.verdict.startswith("Nothing can be said")
    assert diagnosis.to_dict()["healthy"] is None
    save_page(diagnosis, tmp_path / "page.html")
    assert "Nothing can be said" in (tmp_path / "page.html").read_text()


def test_names_with_markup_are_escaped(tmp_path: Path):
    run = planted(tmp_path / "<b>run", story())
    save_page(diagnose(run), tmp_path / "page.html")
    assert "<b>run" not in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("went_back", [False, True])
def test_samples_of_what_the_autopilot_gave_up_are_not_shown_as_the_latest(tmp_path: Path, went_back: bool):
    run = planted(tmp_path / "run", story())
    seen = run.log()[-1]["images_seen"]
    run.samples.mkdir()
    for made, grid in ((0, b"first"), (seen // 2, b"kept"), (2 * seen, b"given up")):
        run.sample_file(made).write_bytes(grid)
    if went_back:
        run.autopilot_file.write_text(json.dumps({"recipe": run.recipe().to_dict(), "interventions": []}))
        later = run.sample_file(2 * seen).stat().st_mtime_ns + 10**9
        os.utime(run.autopilot_file, ns=(later, later))
    save_page(diagnose(run), tmp_path / "page.html")
    (shown,) = re.findall('base64,([^"]*)"', (tmp_path / "page.html").read_text().partition("<h2>Samples</h2>")[2])
    assert base64.b64decode(shown) == (b"kept" if went_back else b"given up")


def test_the_plot_shows_every_signal_that_there_is():
    assert health_plot([], []) is None
    some = health_plot(story()[:20], [("x", 0, 1000)])
    assert some is not None
    assert some.startswith(b"\x89PNG")


@given_any(least=st.floats(-6, 4), wide=st.just(0.0) | st.floats(0.05, 4), high=st.booleans())
@settings(max_examples=60, deadline=None)
def test_wherever_values_lie_a_logarithmic_axis_has_ticks_with_numbers(least: float, wide: float, high: bool):
    """Matplotlib's own ticks are powers of ten: of gradients from 2 to 8 there was none."""
    from matplotlib.figure import Figure

    values = [10**least, 10 ** (least + wide)]
    figure = Figure(figsize=(4, 2.3) if high else (2.3, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*((range(2), values) if high else (values, range(2))))
    logarithmic(axes, "y" if high else "x", values)
    figure.draw_without_rendering()
    axis = axes.yaxis if high else axes.xaxis
    low, top = sorted(axis.get_view_interval())
    shown = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= top and tick.label1.get_text()]
    assert 2 <= len(shown) <= 9
    assert np.log10(shown[-1].get_loc() / shown[0].get_loc()) > 0.3 * np.log10(top / low)  # nor all at one end
    assert not axis.get_minorticklocs().size


def test_no_two_findings_are_shaded_alike(monkeypatch: pytest.MonkeyPatch):
    """Of more than six the seventh looked like the first."""
    from matplotlib.axes import Axes

    looks: list[tuple[Any, ...]] = []
    shade = Axes.axvspan

    def noted(axes: Axes, first: float, last: float, **look: Any) -> Any:
        made = shade(axes, first, last, **look)
        looks.append((made.get_facecolor(), made.get_hatch(), look["label"]))
        return made

    monkeypatch.setattr(Axes, "axvspan", noted)
    titles = [str(number) for number in range(len(TITLES))]
    assert health_plot(story()[:20], [(title, 0, 1000) for title in titles]) is not None
    named = [look[:2] for look in looks if look[2] is not None]
    assert len(named) == len(titles)
    assert len({*named}) == len(titles)


def test_every_signal_has_a_name_in_the_plot_and_no_title_is_longer_than_its_panel():
    raw = [name for names in SIGNALS.values() for name in names if "_" in NAMES.get(name, name)]
    assert raw == []
    assert max(map(len, SIGNALS)) <= 32  # more stood over the titles of the panels above and below


def test_a_damaged_log_is_read_as_far_as_it_goes(tmp_path: Path):
    run = planted(tmp_path / "run", story())
    text = run.log_file.read_text()
    run.log_file.write_text("garbage\n" + text[: len(text) // 2])
    assert diagnose(run).history.looks


def test_a_damaged_recipe_is_an_error(tmp_path: Path):
    run = planted(tmp_path / "run", story())
    (run.folder / "recipe.json").write_text("{}")
    with pytest.raises(HasamaError, match="recipe"):
        diagnose(run)


def test_a_vae_is_looked_at_too(tmp_path: Path, pictures: Path):
    recipe = package.RECIPES["vae"].but(
        size="16", width=4, latent_size=8, batch=16, precision="fp32", kimg=0.32, health_kimg=0.1
    )
    for _ in package.train(str(pictures), recipe, tmp_path / "vae"):
        pass
    looks = [line for line in Run(tmp_path / "vae").log() if "diversity" in line]
    assert len(looks) == 3
    assert "logit_real" not in looks[0]
    assert diagnose(Run(tmp_path / "vae")).history.looks


def test_larger_networks_are_advised_with_smaller_rates(tmp_path: Path):
    """As `hasama train --width` has them: wider networks dissolve by the rates of narrow ones."""
    recipe = package.RECIPES["r3gan"].but(kimg=200.0, generator_blocks=6, generator_attention=True)
    wider = varied(recipe, {"width": 32})
    assert wider.generator_lr == pytest.approx(recipe.generator_lr / 2**0.5, rel=0.01)
    assert varied(recipe, {"width": 32, "generator_lr": 0.001, "discriminator_lr": 0.001}).generator_lr == 0.001
    run = planted(tmp_path / "run", story(late({"distance": 0.8})))
    run.save_recipe(recipe)
    plateau = Finding("plateau", "note", 0, 0, {}, "", (finer(recipe)[0],))
    told = replace(diagnose(run), seen=(Seen(plateau, 0, 0, True),))
    assert "--width 32" in (told.command or "")
    assert "-lr" not in (told.command or "")  # which would undo it


def test_what_is_seen_through_a_window_holds_since_it_began(tmp_path: Path):
    """The discriminator's win is looked for in the last looks: "since 175 kimg" was told of one found at 50."""
    seen = diagnose(planted(tmp_path / "run", story(CASES["discriminator-wins"][0]))).seen
    (one,) = [one for one in seen if one.finding.name == "discriminator-wins"]
    assert one.holds
    assert one.begun <= one.first < 100_000
    twice = story(lambda done: {} if 0.4 < done < 0.7 else CASES["generator-wins"][0](done))
    (again,) = [one for one in diagnose(planted(tmp_path / "b", twice)).seen if one.finding.name == "generator-wins"]
    assert again.holds
    assert again.first <= 80_000 < 120_000 < again.begun  # it was over in between


def test_shares_are_told_in_per_cent_and_one_look_is_one(tmp_path: Path):
    """It is "right about 1 of all pictures": that read as if it were one picture."""
    told = as_text(diagnose(planted(tmp_path / "run", story(CASES["discriminator-wins"][0]))))
    assert "The discriminator is right about 100 % of all pictures" in told
    few = story(looks=1)
    assert "and 1 look; 600 steps and 8 looks are wanted" in as_text(diagnose(planted(tmp_path / "few", few)))
