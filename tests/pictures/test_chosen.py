"""--only: some classes of whatever source has classes, and a sentence for whatever has none."""

import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command import TINY, hasama, refused
from hasama.errors import HasamaError
from hasama.evaluation.subject import Subject
from hasama.pictures.cache import Reading, open_pictures
from hasama.pictures.dataset import Pictures
from hasama.pictures.decoding import Form
from hasama.pictures.sources.chosen import classes_called, only_classes, tidy
from hasama.pictures.sources.entries import Entry, Source
from hasama.pictures.sources.sources import open_source
from hasama.recipe import Recipe
from hasama.runs.folder import Run
from hasama.runs.session import Opening

CLASSES = {"cats": 10, "dogs": 20, "a bird": 30}
"""The classes of every source here, and the shade of all their pictures; each has two."""
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def picture(shade: int, channels: int = 3) -> Image.Image:
    pixels = np.full((10, 10, channels), shade, np.uint8)
    pixels[:2, :, 0] += 1  # coloured
    return Image.fromarray(pixels.squeeze(), MODES[channels])


def in_folders(place: Path, channels: int = 3) -> Path:
    for name, shade in CLASSES.items():
        (place / name).mkdir(parents=True)
        for number in range(2):
            picture(shade, channels).save(place / name / f"{number}.png")
    picture(99, channels).save(place / "of no class.png")
    return place


def listed(place: Path, name: str, text: Callable[[list[tuple[str, str]]], str]) -> Path:
    """All in one folder, with a list of the classes."""
    place.mkdir()
    pairs = [(f"{label}-{number}.png".replace(" ", ""), label) for label in CLASSES for number in range(2)]
    for file, label in pairs:
        picture(CLASSES[label]).save(place / file)
    picture(99).save(place / "z.png")
    (place / name).write_text(text(pairs))
    return place


def arrays(place: Path) -> Path:
    shades = np.repeat([*CLASSES.values(), 99], 2)[:, None, None]
    labels = np.repeat([*CLASSES, ""], 2)
    np.savez(place.with_suffix(".npz"), images=np.full((8, 10, 10), shades, np.uint8), labels=labels)
    return place.with_suffix(".npz")


def packed(place: Path, kind: str) -> Path:
    folder, out = in_folders(place), place.with_suffix(f".{kind}")
    files = [(path, path.relative_to(folder)) for path in sorted(folder.rglob("*.png"))]
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            for path, name in files:
                archive.write(path, name)
    else:
        with tarfile.open(out, "w") as archive:
            for path, name in files:
                archive.add(path, name)
    return out


SOURCES: dict[str, Callable[[Path], Path]] = {
    "folder": in_folders,
    "zip": lambda place: packed(place, "zip"),
    "tar": lambda place: packed(place, "tar"),
    "npz": arrays,
    "dataset.json": lambda place: listed(place, "dataset.json", lambda pairs: json.dumps({"labels": pairs})),
    "metadata.jsonl": lambda place: listed(
        place,
        "metadata.jsonl",
        lambda pairs: "\n".join(json.dumps({"file_name": file, "label": label}) for file, label in pairs),
    ),
    "metadata.csv": lambda place: listed(
        place,
        "metadata.csv",
        lambda pairs: "\n".join(["file_name,label", *(f"{file},{label}" for file, label in pairs)]),
    ),
}


def shades(pictures: Pictures) -> list[int]:
    return pictures.take(np.arange(len(pictures)))[:, -1, 0, 0].tolist()


def test_a_table_of_something_else_takes_no_classes_away(tmp_path: Path):
    for name, shade in (("a", 10), ("b", 20)):
        (tmp_path / name).mkdir()
        Image.new("L", (16, 16), shade).save(tmp_path / name / "1.png")
    (tmp_path / "metadata.csv").write_text("id,label\n1,x\n2,y\n")
    assert open_pictures(str(tmp_path), Recipe(size="8", labels=True)).report.classes == {"a": 1, "b": 1}
    assert shades(open_pictures(str(tmp_path), Recipe(size="8", only="b"))) == [20]


def test_a_folder_that_was_renamed_is_called_by_its_new_name(tmp_path: Path):
    (tmp_path / "a").mkdir()
    Image.new("L", (16, 16), 9).save(tmp_path / "a" / "only.png")
    open_pictures(str(tmp_path / "a"), Recipe(size="8"))
    (tmp_path / "a").rename(tmp_path / "b")
    report = open_pictures(str(tmp_path / "b"), Recipe(size="8")).report
    assert report.source == f"folder {tmp_path / 'b'}"
    assert report.only == str(tmp_path / "b" / "only.png")


def test_a_second_array_of_pictures_is_no_labels(tmp_path: Path):
    train, test = np.zeros((5, 8, 8), np.uint8), np.zeros((4, 8, 8), np.uint8)
    np.savez(tmp_path / "both.npz", train, test)
    assert open_pictures(str(tmp_path / "both.npz"), Recipe(size="8")).report.used == 5
    np.savez(tmp_path / "labelled.npz", train, np.arange(5))
    assert len(open_pictures(str(tmp_path / "labelled.npz"), Recipe(size="8", labels=True)).classes) == 5


def test_classes_of_a_table_are_what_is_written_there(tmp_path: Path):
    """Neither 007 nor a number of seventeen digits is one that it could be rounded to."""
    names = ["7", "007", "12345678901234567", "12345678901234568", "cats", "3.0"]
    for number in range(len(names)):
        Image.new("L", (8, 8), 10 * number).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{name}" for number, name in enumerate(names)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    report = open_pictures(str(tmp_path), Recipe(size="8", labels=True)).report
    assert sorted(report.classes) == sorted([*names[:-1], "3"])


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_with_classes_can_give_some_of_them(tmp_path: Path, kind: str, labels: bool):
    source = str(SOURCES[kind](tmp_path / "set"))
    pictures = open_pictures(source, Recipe(size="8", labels=labels, only="dogs, cats"))
    assert sorted(shades(pictures)) == [10, 10, 20, 20]
    report = pictures.report
    assert (report.found, report.used, report.skipped) == (4, 4, {})
    assert report.classes == ({"cats": 2, "dogs": 2} if labels else {})
    assert report.text().startswith(f"{open_source(source).description} (only cats, dogs): 4 files, 4 pictures")
    if labels:
        assert pictures.labels is not None
        assert [10 + 10 * label for label in pictures.labels] == shades(pictures)


@pytest.mark.parametrize("channels", MODES)
@pytest.mark.parametrize("size", ["8", "9x14"])
@pytest.mark.parametrize("labels", [False, True])
def test_any_colours_and_sizes(tmp_path: Path, channels: int, size: str, labels: bool):
    recipe = Recipe(size=size, labels=labels, only="a bird")
    pictures = open_pictures(str(in_folders(tmp_path / "set", channels)), recipe)
    assert pictures.take(np.arange(2)).shape == (2, *recipe.resolution, channels)
    assert pictures.classes == (("a bird",) if labels else ())


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("cats", ["cats"]),
        ("cats,dogs", ["cats", "dogs"]),
        (" dogs ,, cats, ", ["cats", "dogs"]),
        ("cats dogs", ["cats", "dogs"]),
        ("a bird", ["a bird"]),
        ("a bird,cats dogs", ["a bird", "cats", "dogs"]),
        ("cats,cats", ["cats"]),
    ],
)
def test_names_have_commas_or_spaces_between(tmp_path: Path, names: str, wanted: list[str]):
    source = only_classes(open_source(str(in_folders(tmp_path / "set"))), names)
    assert list(source.only) == wanted
    assert {entry.label for entry in source.entries} == set(wanted)


def of_labels(*labels: str | None, aliases: dict[str, str] | None = None) -> Source:
    entries = [Entry(str(number), label, "", Path) for number, label in enumerate(labels)]
    return Source("built-in some", entries, aliases=aliases or {})


def test_a_name_with_a_comma_is_understood_alone():
    source = of_labels("tench, Tinca tinca", "goldfish", None)
    assert classes_called(source, "tench, Tinca tinca").classes == ("tench, Tinca tinca",)
    assert tidy("b, a ,,a") == "a,b"


@pytest.mark.parametrize("names", ["goldfish,tench, Tinca tinca", "Tinca tinca,goldfish , tench"])
def test_and_beside_others(names: str):
    source = of_labels("tench, Tinca tinca", "goldfish", "tench, golden, fat", None)
    assert set(classes_called(source, names).classes) == {"tench, Tinca tinca", "goldfish"}
    assert set(classes_called(source, tidy(names)).classes) == {"tench, Tinca tinca", "goldfish"}
    several = of_labels("a", "b", "a,b")
    assert classes_called(several, "a,b").classes == ("a,b",)
    assert classes_called(of_labels("a", "b", "c", "a,b"), "a,b,c").classes == ("a", "b", "c")
    assert classes_called(source, "goldfish,tench").unknown == ("tench",)


def test_words_for_numbers():
    source = of_labels("0", "10", "9", "2", aliases={"cat": "2", "ankle boot": "9", "ship": "7"})
    assert [entry.label for entry in only_classes(source, "cat, ankle boot,0").entries] == ["0", "9", "2"]
    with pytest.raises(HasamaError, match=r"'catt'.*Did you mean cat\? There are: 0 \(1\), 2 = cat \(1\), .*, 10"):
        only_classes(source, "catt")
    with pytest.raises(HasamaError, match="no class called 'ship'"):
        only_classes(source, "ship")


def test_an_unknown_class_is_told_the_nearest_and_all(tmp_path: Path):
    source = open_source(str(in_folders(tmp_path / "set")))
    for name, hint in {"cat": "Did you mean cats? ", "DOGS": "Did you mean dogs? ", "zebra": ""}.items():
        with pytest.raises(HasamaError) as caught:
            only_classes(source, f"cats,{name}")
        told = (
            f"There is no class called {name!r} in folder {tmp_path / 'set'}. {hint}There are: a bird (2), cats (2), "
        )
        assert str(caught.value).startswith(told)
    many = of_labels(*(f"c{number}" for number in range(1000)))
    with pytest.raises(HasamaError, match="and 970 more"):
        only_classes(many, "zzz")


def test_a_refused_class_leaves_no_run_folder(tmp_path: Path):
    source, out = in_folders(tmp_path / "set"), tmp_path / "run"
    with pytest.raises(HasamaError, match="Did you mean cats"):
        Opening.of(str(source), Recipe(size="8", only="cat"), Run(out))
    assert not out.exists()


def test_a_source_without_classes_says_so(tmp_path: Path):
    flat = tmp_path / "flat"
    flat.mkdir()
    picture(5).save(flat / "a.png")
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8))
    for source, words in {
        flat: "has none (a.png: in no sub-folder)",
        tmp_path / "a.npz": "there are no labels",
        flat / "a.png": "One picture has no classes",
        listed(tmp_path / "list", "dataset.json", lambda _: '{"labels": null}'): '"labels": null',
    }.items():
        with pytest.raises(HasamaError) as caught:
            open_pictures(str(source), Recipe(size="8", only="cats"))
        assert words in str(caught.value)
        assert "--only" in str(caught.value)


def test_the_whole_and_a_part_have_caches_of_their_own(tmp_path: Path):
    source = in_folders(tmp_path / "set")

    def key(only: str = "") -> str:
        return Reading(str(source), Form((8, 8), only=only)).key

    assert len({key(), key("cats"), key("dogs"), key("cats,dogs")}) == 4
    assert key("dogs, cats") == key("cats,dogs")
    before = key("cats")
    picture(7).save(source / "dogs" / "more.png")
    assert key("cats") == before, "what is not used does not count"


def test_all_classes_by_name_are_not_the_whole_cache(tmp_path: Path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8), labels=[0, 1])
    whole, named = (Reading(str(tmp_path / "a.npz"), Form((8, 8), only=only)) for only in ("", "0,1"))
    assert whole.key != named.key


# --- runs -----------------------------------------------------------------------------------------


def compared_with(run: Path, source: str | None = None) -> Pictures:
    work = Subject.of(run, torch.device("cpu")).pictures(source)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def test_a_run_keeps_its_classes(tmp_path: Path):
    source, out = in_folders(tmp_path / "set"), tmp_path / "run"
    command = ("train", source, "dcgan", *TINY, "--health-kimg", 0, "--out", out, "--only")
    assert "(only cats, dogs): 4 files" in hasama(*command, "dogs, cats", "--steps", 2).stdout
    run = Run(out)
    assert run.recipe().only == "cats,dogs"
    assert run.images()["used"] == 4
    assert hasama("resume", out, "--kimg", 0.048).returncode == 0
    again = hasama(*command, "cats,dogs", "--steps", 4)
    assert again.returncode == 0, again.stderr
    assert run.images_seen() == 64
    refused(hasama(*command, "cats", "--steps", 4), "--only cats,dogs (now --only cats)")

    assert sorted(shades(compared_with(out))) == [10, 10, 20, 20]
    assert sorted(shades(compared_with(out, str(source)))) == [10, 10, 20, 20]
    assert sorted(shades(compared_with(out, str(source / "a bird")))) == [30, 30], "which has none of these classes"
    shutil.rmtree(source / "a bird")
    picture(20).save(source / "dogs" / "2.png")
    assert sorted(shades(compared_with(out))) == [10, 10, 20, 20]
    assert sorted(shades(compared_with(out, str(source)))) == [10, 10, 20, 20, 20]


def test_the_commands_take_it_and_refuse_with_2(tmp_path: Path):
    source, out = in_folders(tmp_path / "set"), tmp_path / "p.png"
    done = hasama("images", source, "--only", "cats", "--labels", "--size", 8, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "(only cats): 2 files, 2 pictures, 0 skipped" in done.stdout
    assert "cats (2)" in done.stdout
    refused(hasama("images", source, "--only", "cat", "--out", out), "Did you mean cats?")
    refused(hasama("train", source, "--only", "cat", "--out", tmp_path / "run"), "Did you mean cats?")
    assert not Run(tmp_path / "run").exists()
    refused(hasama("train", source, "--only", ",", "--out", tmp_path / "run"), "--only takes the names")
    refused(hasama("suggest", source, "--only", "cat"), "Did you mean cats?")
