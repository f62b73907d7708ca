"""The doctor's checks on histories in which the truth is known."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasama.health.check_balance import relapses
from hasama.health.checks import CHECKS, examine
from hasama.health.explanations import EXPLANATIONS, TITLES
from hasama.health.findings import Finding, History
from hasama.health.remedies import Remedy
from hasama.presets import RECIPES
from hasama.recipe import Recipe
from histories import CASES, IMAGES, LOOK, RECIPE, healthy, late, story


def names(log: list[dict[str, Any]], recipe: Recipe = RECIPE, images: dict[str, Any] = IMAGES) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(log, recipe, images)}


def test_a_healthy_training_is_left_alone_at_every_moment():
    log = story()
    for end in range(len(log) + 1):
        assert not {name for name, f in names(log[:end]).items() if f.severity != "note"}


@pytest.mark.parametrize("name", CASES)
def test_what_is_induced_is_found_and_explained(name: str):
    change, severity = CASES[name]
    found = names(story(change))
    assert found[name].severity == severity
    assert found[name].images_seen == 40 * LOOK
    assert "{" not in found[name].explanation
    assert found[name].evidence or name == "not-finite"
    assert all(math.isfinite(value) for value in found[name].evidence.values())


@pytest.mark.parametrize(
    ("contrast", "right", "also"),
    [(0.1, 0.8, set()), (0.1, 1.0, {"discriminator-wins"}), (1.4, 1.0, {"discriminator-wins", "mode-collapse"})],
)
def test_why_it_is_dead_is_told_too(contrast: float, right: float, also: set[str]):
    """Grey and never trained; before a sure discriminator; run into the ends of black and white."""
    figures = {"diversity": 0.01, "repeats": 1.0, "distance": 9.0, "loss_discriminator": 0.001}
    dead = story(lambda done: figures | {"contrast": contrast, "accuracy_real": right, "accuracy_fake": right})
    assert {*names(dead)} == {"dead-start"} | also
    assert next(iter(names(dead))) == "dead-start"  # what the autopilot answers


def test_a_dead_start_with_the_usual_rates_has_a_remedy_too():
    found = names(story(CASES["dead-start"][0]))["dead-start"]
    assert found.remedies[0].changes["objective"] == "relativistic"


@pytest.mark.parametrize("preset", RECIPES)
def test_every_serious_finding_that_flags_can_end_has_a_remedy(preset: str):
    recipe = RECIPES[preset]
    beyond = {"all-alike", "one-colour"} | ({"discriminator-wins", "generator-wins"} if preset == "vae" else set())
    for name, (change, severity) in CASES.items():
        if severity == "serious" and name not in beyond:
            found = names(story(change, apart=40 * recipe.batch), recipe).get(name)
            assert found is None or found.remedies, (name, preset)


@pytest.mark.parametrize(
    "name", ["mode-collapse", "divergence", "memorisation", "overfitting", "partial-collapse", "few-colours"]
)
def test_since_is_when_it_began(name: str):
    change, _ = CASES[name]
    since = names(story(change))[name].since
    assert 0.5 * 40 * LOOK <= since <= 0.55 * 40 * LOOK + LOOK


def test_few_colours_are_no_finding_in_the_first_half():
    poor = lambda done: {"colours": 0.3}  # noqa: E731
    assert "few-colours" not in names(story(poor)[:39])
    assert names(story(poor))["few-colours"].evidence == {"colours": 0.3}
    assert "few-colours" not in names(story(lambda done: {"colours": 0.65}))


def test_no_collapse_is_called_in_the_first_looks():
    early = story(lambda done: {"diversity": 0.02, "repeats": 1.0, "distance": 3 - done}, looks=5)
    assert "mode-collapse" not in names(early)


@pytest.mark.parametrize("name", ["mode-collapse", "discriminator-wins", "generator-wins"])
def test_what_may_pass_by_itself_is_a_warning_in_the_first_600_steps(name: str):
    """40 looks at a distance of 40 steps, 1,600 steps in all; of the first 15 all are early."""
    bad, _ = CASES[name]
    log = story(lambda done: bad(1.0), apart=40 * RECIPE.batch)
    severities = [found[name].severity for end in range(80) if name in (found := names(log[:end]))]
    assert set(severities) == {"warning", "serious"}
    assert severities == sorted(severities, reverse=True)  # first the one, then the other
    early, later = names(log[:29])[name], names(log[:31])[name]
    assert (early.severity, early.images_seen // RECIPE.batch) == ("warning", 580)
    assert "It is early (step 580)" in early.explanation
    assert (later.severity, "It is early" in later.explanation) == ("serious", False)
    assert early.remedies == later.remedies


@settings(max_examples=40)
@given(
    bad=st.integers(0, 39), factor=st.floats(0.1, 50), noise=st.lists(st.floats(0.82, 1.21), min_size=40, max_size=40)
)
def test_one_bad_look_is_no_oscillation(bad: int, factor: float, noise: list[float]):
    def distances(done: float) -> dict[str, float]:
        look = min(39, int(done * 40))
        return {"distance": healthy(done)["distance"] * noise[look] * (factor if look == bad else 1)}

    log = story(distances)
    assert not any("oscillation" in names(log[:end]) for end in range(40, 81, 8))


def test_swings_around_a_falling_trend_are_oscillation():
    """Each second look is farther by 2.5 times; in twelve looks it comes to that six times."""
    swinging = story(lambda done: {"distance": 9 * math.exp(-2 * done) * 2.5 ** (int(done * 40) % 2)})
    finding = names(swinging)["oscillation"]
    rise = 2.5 * math.exp(-2 / 40)
    assert finding.evidence["swing"] == pytest.approx(rise ** finding.evidence["relapses"], rel=0.01)
    assert finding.evidence["relapses"] in (5, 6)
    assert finding.since == 29 * LOOK
    assert "oscillation" not in names(swinging[:14])


@pytest.mark.parametrize(
    ("values", "rises"),
    [
        ([1, 2, 3, 4], [4]), ([4, 3, 2, 1], []), ([1, 1.9, 1, 1.9], []), ([4, 1, 3, 1, 5], [3, 5]),
        ([1, 2, 1.1, 4, 2], [4]), ([8, 1, 1.5, 0.5, 1.2, 0.7, 3, 9, 4], [18]), ([], []),
    ],
)  # fmt: skip
def test_relapses_by_hand(values: list[float], rises: list[float]):
    assert relapses(np.array(values), 2) == pytest.approx(rises)


def test_noise_at_the_start_is_no_variety_that_was_lost():
    """Of faint pictures: first five times as various as the reals, then as various as they are."""
    log = story(lambda done: {"diversity": 0.5 + 5 * math.exp(-9 * done), "repeats": 0.0, "distance": 2 - 1.9 * done})
    assert not any("mode-collapse" in names(log[:end]) for end in range(81))


def ruined(done: float, covered: float = 0.0) -> dict[str, float]:
    """Blocks that change wildly before a sure discriminator: now nearer, now farther, now more, now less various."""
    look = int(done * 40)
    wild = [0.0, 1.7, 0.6, 2.9, 0.3, 1.2, 2.4]
    return {
        "accuracy_real": 1.0, "accuracy_fake": 1.0, "loss_discriminator": 0.01, "covered": covered,
        "distance": 3.4 + wild[look % 7], "diversity": 0.5 + wild[(look + 3) % 7] / 3,
    }  # fmt: skip


def test_a_ruined_run_that_swings_has_not_improved():
    log = story(ruined)
    lost = [end for end in range(20, 81, 2) if "discriminator-wins" in names(log[:end])]
    assert len(lost) > 20
    better = story(lambda done: ruined(done) | {"distance": 9 * 0.8 ** (done * 40)})
    assert not any("discriminator-wins" in names(better[:end]) for end in range(20, 50, 2))


def test_pictures_beyond_black_and_white_are_divergence():
    found = names(story(late({"contrast": 17.0, "contrast_real": 0.5}, 0.8)))["divergence"]
    assert found.evidence["contrast"] == 8.5
    assert "divergence" not in names(story(late({"contrast": 17.0, "contrast_real": 0.05}, 0.8)))


def test_divergence_begins_where_either_logit_grew():
    both = {"logit_real": 400.0, "logit_fake": -400.0}
    fakes = story(lambda done: both if done > 0.6 else {"logit_fake": -50.0} if done > 0.4 else {})
    real = story(late(both, 0.6))
    assert names(fakes)["divergence"].since == 17 * LOOK
    assert names(real)["divergence"].since == 25 * LOOK


def test_a_vae_is_not_told_of_judges():
    recipe = RECIPES["vae"].but(latent_size=1, generator_lr=0.01, kimg=200.0)
    found = names(story(late({"diversity": 0.05, "repeats": 1.0, "distance": 1.5})), recipe)["mode-collapse"]
    assert [remedy.changes for remedy in found.remedies] == [{"generator_lr": 1e-3}, {"latent_size": 100}]


def test_a_slow_start_that_grows_is_no_collapse():
    slow = story(lambda done: {"diversity": 0.02 + 0.25 * done, "repeats": 1.0, "distance": 2 - 1.5 * done})
    assert "mode-collapse" not in names(slow)


def test_a_discriminator_that_is_sure_while_the_generator_improves_has_not_won():
    sure = story(lambda done: {"accuracy_real": 1.0, "accuracy_fake": 1.0, "loss_discriminator": 0.001})
    assert "discriminator-wins" not in names(sure[:30])


def test_numbers_that_break_down():
    log = [*story(looks=4), {"images_seen": 21000, "not_finite": "loss_generator"}]
    finding = names(log)["not-finite"]
    assert finding.severity == "serious"
    assert finding.since == 20000
    assert finding.remedies[0].changes["generator_lr"] == RECIPE.generator_lr / 4


@pytest.mark.parametrize(
    ("used", "augment", "severity"),
    [
        (3, "none", "serious"),
        (3, "diffaugment", "serious"),
        (100, "none", "warning"),
        (100, "ada", None),
        (200, "none", None),
    ],
)
def test_few_pictures(used: int, augment: str, severity: str | None):
    found = names(story(), RECIPE.but(augment=augment), {"used": used})
    assert (found["too-few"].severity if severity else None) == severity
    assert ("too-few" in found) == bool(severity)


def test_copies_do_not_count_as_pictures():
    images = {"used": 1000, "duplicates": [[str(n) for n in range(995)]]}
    assert names(story(), RECIPE, images)["too-few"].evidence == {"pictures": 6}


def test_a_plateau_is_a_note_and_only_late():
    flat = story(lambda done: {"distance": max(0.2, 2 * math.exp(-20 * done))})
    assert names(flat)["plateau"].severity == "note"
    assert "plateau" not in names(flat[:30])
    assert "plateau" not in names(story(lambda done: {"distance": 2 - 1.9 * done}))


@given(st.lists(st.dictionaries(
    st.sampled_from(sorted(healthy(0))),
    st.one_of(st.none(), st.floats(-1e6, 1e6), st.floats(allow_nan=True)),
), max_size=30))  # fmt: skip
def test_no_log_whatsoever_breaks_the_checks(lines: list[dict[str, Any]]):
    log = [{"images_seen": 1000 * number, **line} for number, line in enumerate(lines)]
    for finding in examine(log, RECIPE, {}):
        assert finding.name in TITLES
        assert finding.to_dict()["name"] == finding.name


@pytest.mark.parametrize("recipe", RECIPES)
def test_remedies_change_something_and_make_recipes(recipe: str):
    chosen = RECIPES[recipe].but(kimg=200.0)
    for change, _ in CASES.values():
        for finding in names(story(change), chosen).values():
            for remedy in finding.remedies:
                assert chosen.but(**remedy.changes) != chosen
                assert remedy.flags.startswith("--")


def test_a_weight_that_is_too_small_is_no_steady_one():
    chosen = RECIPES["stable"].but(gamma=0.001, kimg=200.0)
    finding = names(story(CASES["mode-collapse"][0]), chosen)["mode-collapse"]
    assert finding.remedies[0].changes == {"gamma": 5}


def test_flags_are_what_the_command_takes():
    changes = {"generator_lr": 0.0001, "mirror": True, "generator_betas": (0.0, 0.99), "augment": "ada"}
    told = Remedy(changes, "").flags
    assert told == "--generator-lr 0.0001 --mirror --generator-betas 0 0.99 --augment ada"
    assert Remedy({"mirror": False}, "").flags == "--no-mirror"


def test_every_finding_has_a_title_and_an_explanation():
    assert TITLES.keys() == EXPLANATIONS.keys()
    assert len(CHECKS) == len(TITLES)


def test_history_reads_looks_and_lines_between():
    history = History(story(looks=10), RECIPE)
    assert len(history.looks) == 10
    assert history.at_look("diversity", 3).shape == (3,)
    assert len(history.recent("accuracy_real", 3)) == 6
