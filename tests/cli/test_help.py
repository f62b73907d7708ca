"""`--help` tells the truth: the defaults of the recipe that is asked for, in groups, the most used first."""

import dataclasses
import re

import pytest

from command import hasama
from hasama.cli.app import make_app
from hasama.cli.commands.sweep import SWEEP_KIMG
from hasama.cli.flags import SHOWN_FIRST
from hasama.cli.words import asked_recipe
from hasama.fields import GROUPS, MEANS_NOTHING_AT_ZERO, MEANS_NOTHING_WITHOUT, counts
from hasama.options import flag, typed
from hasama.presets import PRESETS, RECIPES
from hasama.recipe import DEFAULTS, Recipe
from hasama.style.recipe import STYLE_DEFAULTS, STYLE_GROUPS, STYLE_PRESETS


def help_of(*words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The help that the command prints for these words, as one line without frames."""
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        make_app(asked_recipe([*words, "--help"]))([*words, "--help"])
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())


def told_of(name: str, shown: str) -> str:
    """What the help says of a flag, up to the next one."""
    found = re.search(rf"{flag(name)} [^\n]*?(?= --[a-z]+[-a-z]* [A-Z-]| Begin with|$)", shown)
    assert found, name
    return found[0]


@pytest.mark.parametrize("preset", RECIPES)
def test_the_defaults_are_those_of_the_recipe(
    preset: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    shown = help_of("train", "photos", preset, capsys=capsys, monkeypatch=monkeypatch)
    assert f"are those of {preset}." in shown
    for name, value in PRESETS[preset].items():
        words = " ".join(map(typed, value if isinstance(value, tuple) else (value,)))
        assert f"[default: {words}]" in told_of(name, shown), name


def test_without_a_recipe_they_are_those_of_the_default_recipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    shown = help_of("train", capsys=capsys, monkeypatch=monkeypatch)
    assert "RECIPE A preset: see hasama recipes. [default: vision-aided]" in shown
    assert "[default: r3gan]" in told_of("architecture", shown)
    assert "[default: 5]" in told_of("gamma", shown)


def test_what_does_nothing_beside_the_recipe_has_no_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    shown = help_of("train", "photos", "dcgan", capsys=capsys, monkeypatch=monkeypatch)
    needed_by = {name: needed for name, (needed, _) in MEANS_NOTHING_WITHOUT.items()}
    needed_by = MEANS_NOTHING_AT_ZERO | needed_by
    for name, needed in needed_by.items():
        said = f"[only with {flag(needed)} " in told_of(name, shown)
        assert said != counts(name, RECIPES["dcgan"]), name
        assert not (said and "[default" in told_of(name, shown)), name
    vae = help_of("train", "photos", "vae", capsys=capsys, monkeypatch=monkeypatch)
    assert "[not for a vae]" in told_of("objective", vae)


def test_a_trial_of_a_sweep_has_its_own_length(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    for words in (["sweep"], ["sweep", "photos", "dcgan"]):
        shown = help_of(*words, capsys=capsys, monkeypatch=monkeypatch)
        assert f"[default: {typed(SWEEP_KIMG)}]" in told_of("kimg", shown)


@pytest.mark.parametrize("preset", STYLE_PRESETS)
@pytest.mark.parametrize("form", ["{0} {1}", "{0}={1}"])
def test_a_painting_s_defaults_are_those_of_its_recipe(
    preset: str, form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    words = form.format("--recipe", preset).split()
    shown = help_of("style", "a.png", "b.png", *words, capsys=capsys, monkeypatch=monkeypatch)
    assert f"are those of {preset}." in shown
    for name, value in STYLE_PRESETS[preset].items():
        assert f"[default: {typed(value)}]" in told_of(name, shown), name


@pytest.mark.parametrize(("groups", "fields"), [(GROUPS, DEFAULTS), (STYLE_GROUPS, STYLE_DEFAULTS)])
def test_every_field_stands_in_one_group_and_ten_stand_first(groups: dict[str, tuple[str, ...]], fields: dict):
    named = [name for group in groups.values() for name in group]
    assert sorted(named) == sorted(fields)
    assert next(iter(groups)) == SHOWN_FIRST
    assert len(groups[SHOWN_FIRST]) == 10


def test_the_first_group_comes_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    shown = help_of("train", capsys=capsys, monkeypatch=monkeypatch)
    places = [shown.index(f" {heading} ") for heading in GROUPS]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("line", "preset"),
    [
        ("train photos dcgan --help", "dcgan"),
        ("train --size 32 photos stable -h", "stable"),
        ("train photos --mirror wgan-gp --help", "wgan-gp"),
        ("train photos --no-mirror msg --help", "msg"),
        ("train photos --generator-betas 0 0.9 fast --help", "fast"),
        ("train photos --architecture dcgan --help", None),  # a flag's value is no recipe
        ("train dcgan --out runs/vae --help", "dcgan"),  # whoever asks for help may leave out the source
        ("train dcgan vae --help", "vae"),
        ("train photos vae dcgan --help", "vae"),
        ("train photos --size=32 vae --help", "vae"),
        ("train photos nonsense --help", None),
        ("train photos dcgan", None),
        ("sweep photos lsgan --trials 3 --help", "lsgan"),
        ("style a b --recipe sketch --help", "sketch"),
        ("style a b --help", None),
        ("sample dcgan --help", None),
        ("", None),
    ],
)
def test_which_recipe_is_asked_about(line: str, preset: str | None):
    assert asked_recipe(line.split()) == preset


def test_the_real_command(monkeypatch: pytest.MonkeyPatch):
    done = hasama("train", "photos", "dense", "--help", COLUMNS="120")
    assert done.returncode == 0
    assert "are those of dense." in done.stdout
    assert done.stderr == ""
    unknown = hasama("train", "photos", "dcgna", "--size", "32")
    assert unknown.returncode == 2
    assert "Did you mean dcgan?" in unknown.stderr


def test_no_field_is_without_help():
    for field in dataclasses.fields(Recipe):
        assert field.metadata["help"].strip()[-1] in ".)"
