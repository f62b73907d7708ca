"""`hasama evaluate`: what is evaluated, what the cache spares, what is written and said, and what is refused."""

import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cyclopts import App
from PIL import ExifTags, Image

from command import make_pictures
from hasama.cli.commands.runs import evaluate as command
from hasama.cli.style_arguments import is_run
from hasama.errors import HasamaError
from hasama.evaluation import evaluate as evaluation
from hasama.evaluation.evaluate import evaluate
from hasama.evaluation.subject import EvaluationProgress, Subject, helped_to_train
from hasama.generators.generator_file import TrainedGenerator, load_generator, save_generator
from hasama.generators.sampling import labels_for, labels_like
from hasama.metrics import intervals as figures
from hasama.networks.registry import build
from hasama.perception import extractors
from hasama.pictures.cache import open_pictures
from hasama.pictures.sources.download import cache_folder
from hasama.presets import RECIPES
from hasama.runs.folder import Run
from hasama.sharing.model_card import Trained, model_card
from narrow_vgg import WIDTHS, narrow_weights

CPU = torch.device("cpu")
NAMES = ["fid", "kid", "precision", "recall", "density", "coverage"]
PICTURES = 40


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow network and few resamples."""
    monkeypatch.setattr(extractors, "load_weights", narrow_weights)
    monkeypatch.setattr(figures, "RESAMPLES", 3)
    monkeypatch.setattr(figures, "SUBSETS", 10)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the pictures that the network is shown."""
    shown: list[int] = []
    means = extractors._means
    monkeypatch.setattr(extractors, "_means", lambda net, images: (shown.append(len(images)), means(net, images))[1])
    return shown


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Forty pictures in two classes."""
    return make_pictures(tmp_path / "pictures", PICTURES)


def make_run(source: Path, folder: Path, labels: bool = False, seed: int = 0, **changes: Any) -> Path:
    """A run folder with an untrained generator, as training leaves it."""
    recipe = RECIPES["dcgan"].but(size="16", width=4, latent_size=6, labels=labels, kimg=1, **changes)
    pictures = open_pictures(str(source), recipe)
    place = Run(folder)
    place.create(recipe, pictures.report, str(source))
    network, rng = build(recipe, 3, len(pictures.classes)).generator, torch.Generator().manual_seed(seed)
    for weights in network.parameters():
        weights.data = 0.2 * torch.randn(weights.shape, generator=rng)
    save_generator(TrainedGenerator(network, recipe, 6, 3, pictures.classes), place.generator)
    return folder


@pytest.fixture
def run(source: Path, tmp_path: Path) -> Path:
    return make_run(source, tmp_path / "run")


def judged(*given: Any, **more: Any) -> evaluation.Evaluation:
    """The last record's result."""
    *others, last = evaluate(*given, **more)
    assert all(record.result is None for record in others)
    assert last.result is not None
    return last.result


def ask(*words: object) -> int:
    """The command, as it is typed."""
    app = App(result_action="return_value")
    app.command(command)
    return app(["evaluate", *map(str, words)])


# --- what is judged -------------------------------------------------------------------------------


def test_a_run_is_judged_by_its_own_pictures(run: Path):
    result = judged(run)
    assert list(result.figures) == NAMES
    assert (result.extractor, result.size, result.width) == ("vgg19-relu5_1-mean", "16x16", WIDTHS[-1])
    assert (result.real, result.generated) == (PICTURES, PICTURES)
    assert all(np.isfinite([f.value, f.low, f.high, f.floor]).all() for f in result.figures.values())
    assert result.origin["pictures"] == {"digest": Run(run).images()["digest"], "count": 40, "of the training": True}
    assert result.origin["generator"] == {
        "sha256": extractors.sha256_of(run / "generator.safetensors"), "seed": 0, "images_seen": 0,
    }  # fmt: skip


def test_records_tell_every_stage_to_its_end(run: Path):
    records = list(evaluate(run, count=25))
    stages = list(dict.fromkeys(record.stage for record in records))
    assert stages == ["real pictures", "generated pictures", "figures"]
    for stage, total in zip(stages, (PICTURES, 25, evaluation.RESAMPLES), strict=True):
        own = [record for record in records if record.stage == stage]
        assert {record.total for record in own} == {total}
        assert [r.done for r in own] == sorted(r.done for r in own)
        assert own[-1].done == total
    assert isinstance(records[0], EvaluationProgress)


def test_the_same_seed_gives_the_same_and_another_seed_does_not(run: Path):
    first = judged(run)
    shutil.rmtree(cache_folder() / "features")
    assert judged(run) == first
    other = judged(run, seed=1).figures
    assert other["fid"].value != first.figures["fid"].value
    assert judged(run, seed=0, count=30).generated == 30


def test_a_generator_that_makes_the_real_pictures_is_as_good_as_they_are(
    run: Path, source: Path, monkeypatch: pytest.MonkeyPatch
):
    pictures = open_pictures(str(source), Run(run).recipe())

    def real_ones(*_: Any) -> Iterator[np.ndarray]:
        yield pictures.take(np.arange(len(pictures)))

    monkeypatch.setattr(evaluation, "generate", real_ones)
    figures_found = judged(run).figures
    assert figures_found["fid"].value == pytest.approx(0, abs=1e-4)
    assert [figures_found[name].value for name in ("precision", "recall", "coverage")] == [1, 1, 1]
    assert figures_found["kid"].value < figures_found["kid"].high


def test_a_generator_alone_takes_a_source(run: Path, source: Path, tmp_path: Path):
    alone = shutil.copy(run / "generator.safetensors", tmp_path / "cats.safetensors")
    result = judged(alone, source=str(source))
    assert result.real == PICTURES
    assert "images_seen" not in result.origin["generator"]
    assert not result.origin["pictures"]["of the training"]
    assert result.figures["fid"].value == pytest.approx(judged(run).figures["fid"].value, rel=1e-6)


def test_other_pictures_come_in_the_generators_form(run: Path, tmp_path: Path):
    grey = tmp_path / "grey.npz"
    np.savez(grey, images=np.random.default_rng(0).integers(0, 256, (20, 30, 50), np.uint8))
    result = judged(run, source=str(grey))
    assert (result.size, result.real, result.generated) == ("16x16", 20, 20)


def test_pictures_are_read_again_where_the_cache_is_gone(run: Path):
    before = judged(run)
    shutil.rmtree(cache_folder())
    stages = {record.stage for record in evaluate(run)}
    assert {"looking", "decoding"} < stages
    assert judged(run) == before


# --- classes --------------------------------------------------------------------------------------


def labels_of(run: Path, count: int, source: str | None = None) -> list[int]:
    subject = Subject.of(run, CPU)
    work = subject.pictures(source)
    while True:
        try:
            next(work)
        except StopIteration as end:
            pictures = end.value
            break
    found = labels_like(subject.generator, pictures, np.arange(len(pictures)), count)
    assert found is not None
    return found.tolist()


def test_classes_are_generated_in_the_real_pictures_proportions(source: Path, tmp_path: Path):
    for file in sorted((source / "dark").iterdir())[:15]:
        file.unlink()  # 5 dark ones are left beside 20 light ones
    run = make_run(source, tmp_path / "run", labels=True)
    assert Counter(labels_of(run, 100)) == {0: 20, 1: 80}
    assert Counter(labels_of(run, 7)) == {0: 1, 1: 6}
    assert Counter(labels_of(run / "generator.safetensors", 50, str(source))) == {0: 10, 1: 40}
    assert judged(run).generated == 25


def test_where_the_proportions_are_not_known_the_classes_are_generated_in_turn(source: Path, tmp_path: Path):
    run = make_run(source, tmp_path / "run", labels=True)
    (source / "dark").rename(source / "gloomy")
    generator = load_generator(run / "generator.safetensors")
    wanted = labels_for(generator, 9)
    assert wanted is not None
    assert labels_of(run / "generator.safetensors", 9, str(source)) == wanted.tolist()


# --- the cache ------------------------------------------------------------------------------------


def test_nothing_is_looked_at_twice(run: Path, looked: list[int]):
    first = judged(run)
    assert sum(looked) == 2 * PICTURES
    assert judged(run) == first
    assert sum(looked) == 2 * PICTURES
    judged(run, seed=1)
    assert sum(looked) == 3 * PICTURES, "the generated ones only"


def test_another_generator_is_looked_at_again_the_real_pictures_are_not(
    run: Path, source: Path, tmp_path: Path, looked: list[int]
):
    first = judged(run)
    other = make_run(source, tmp_path / "other", seed=1)
    assert judged(other).figures["fid"].value != first.figures["fid"].value
    assert sum(looked) == 3 * PICTURES


def test_another_network_looks_at_everything_again(run: Path, looked: list[int], monkeypatch: pytest.MonkeyPatch):
    judged(run)
    monkeypatch.setattr(extractors, "EXTRACTOR", "vgg19-another")
    assert judged(run).extractor == "vgg19-another"
    assert sum(looked) == 4 * PICTURES


def cut(content: bytes) -> bytes:
    return content[:-8]


def with_a_wrong_bit(content: bytes) -> bytes:
    return content[:-2] + bytes([content[-2] ^ 4, content[-1]])


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"no safetensors", cut, with_a_wrong_bit])
def test_damaged_features_in_the_cache_are_made_again(run: Path, looked: list[int], damage: Callable[[bytes], bytes]):
    first = judged(run)
    for file in (cache_folder() / "features").iterdir():
        file.write_bytes(damage(file.read_bytes()))
    assert judged(run) == first
    assert sum(looked) == 4 * PICTURES


# --- what is said and written ---------------------------------------------------------------------


def test_the_command_prints_a_table_that_names_extractor_numbers_and_size(
    run: Path, capsys: pytest.CaptureFixture[str]
):
    assert ask(run, "--count", 30) == 0
    said = capsys.readouterr().out
    assert "vgg19-relu5_1-mean: 30 generated against 40 real pictures, 16x16" in said
    assert all(name in said for name in [*NAMES, "95 % interval", "real"])
    assert "not with published ones" in said
    assert "FID means little" not in said  # 30 pictures, 8 features
    assert str(run / "metrics.json") in said


def test_json_is_json_and_nothing_else(run: Path, capsys: pytest.CaptureFixture[str]):
    shutil.rmtree(cache_folder() / "pictures")
    ask(run, "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["extractor"], told["samples"], told["size"]) == ("vgg19-relu5_1-mean", 40, "16x16")
    assert list(told["figures"]) == NAMES
    assert set(told["details"]["fid"]) == {"value", "low", "high", "floor", "real", "generated"}
    assert json.loads((run / "metrics.json").read_text()) == [told]


def test_the_model_card_shows_the_figures_and_nothing_else_as_figures(run: Path):
    ask(run)
    lines = model_card(Trained(Run(run).generator, load_generator(Run(run).generator), Run(run))).splitlines()
    quality = [line for line in lines if line.startswith("- ") and "samples)" in line]
    assert [line[2:].partition(":")[0] for line in quality] == NAMES
    assert all("(vgg19-relu5\\_1-mean, 40 samples)" in line for line in quality)


def test_the_model_card_says_of_which_pictures_and_which_generator_the_figures_are(run: Path, tmp_path: Path):
    ask(run, "--source", make_pictures(tmp_path / "others", 15))
    file = Run(run).generator
    save_generator(load_generator(make_run(tmp_path / "pictures", tmp_path / "later", seed=1) / file.name), file)
    ask(run)
    card = model_card(Trained(file, load_generator(file), Run(run)))
    first, second = (line for line in card.splitlines() if line.startswith("- fid:"))
    assert "15 samples, against other pictures than those of the training, of the generator at 0 kimg)" in first
    assert second.endswith("40 samples)")


def test_a_generator_that_is_replaced_while_it_is_judged_is_told_by_its_own_sum(run: Path, tmp_path: Path):
    """Else the later one would be judged by the earlier one's features, for ever, out of the cache."""
    file, later = run / "generator.safetensors", make_run(tmp_path / "pictures", tmp_path / "later", seed=1)
    own = extractors.sha256_of(file)
    records = evaluate(run)
    next(records)
    shutil.copyfile(later / file.name, tmp_path / "new")
    (tmp_path / "new").replace(file)
    *_, last = records
    assert last.result is not None
    assert last.result.origin["generator"]["sha256"] == own
    assert judged(run).figures == judged(later).figures != last.result.figures


def test_without_a_terminal_a_line_is_told_now_and_then(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("hasama.cli.progress.LINE_SECONDS", 0.0)
    ask(run)
    assert "generated pictures 40/40\nfigures 0/40" in capsys.readouterr().out


@pytest.mark.parametrize("kept", [{"extractor": "other", "fid": 7}, [{"extractor": "other", "fid": 7}]])
def test_entries_of_other_extractors_stay_and_its_own_is_replaced(run: Path, kept: Any):
    file = run / "metrics.json"
    file.write_text(json.dumps(kept))
    ask(run)
    ask(run, "--seed", 1)
    reports = json.loads(file.read_text())
    assert [report["extractor"] for report in reports] == ["other", "vgg19-relu5_1-mean"]
    assert reports[1]["origin"]["generator"]["seed"] == 1


def test_efficientnet_is_a_second_opinion_beside_the_first(run: Path, capsys: pytest.CaptureFixture[str]):
    """With its real weights, which are quick: in the table, in metrics.json and in the model card."""
    ask(run)
    assert ask(run, "--features", "efficientnet") == 0
    said = capsys.readouterr().out
    assert "efficientnet-lite0-pooled: 40 generated against 40 real pictures, 16x16" in said
    assert "Comparable only with other figures of efficientnet-lite0-pooled" in " ".join(said.split())
    first, second = json.loads((run / "metrics.json").read_text())
    assert (first["extractor"], second["extractor"]) == ("vgg19-relu5_1-mean", "efficientnet-lite0-pooled")
    assert list(second["figures"]) == NAMES
    assert second["figures"]["kid"] > 2 * second["details"]["kid"]["floor"]
    card = model_card(Trained(Run(run).generator, load_generator(Run(run).generator), Run(run)))
    assert len([line for line in card.splitlines() if "(efficientnet-lite0-pooled, 40 samples)" in line]) == len(
        NAMES
    )
    *_, again = evaluate(run, features="efficientnet")
    assert again.result is not None
    assert {name: figure.value for name, figure in again.result.figures.items()} == second["figures"]


def test_of_a_generator_alone_nothing_is_written(run: Path, source: Path):
    before = sorted(path.name for path in run.iterdir())
    ask(run / "generator.safetensors", "--source", source)
    assert sorted(path.name for path in run.iterdir()) == before


def test_few_pictures_are_told_of(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(extractors, "load_weights", lambda: narrow_weights(widths=(4, 4, 4, 4, 64)))
    ask(run)
    assert "more pictures (40) than the network has features (64)" in capsys.readouterr().out


# --- pictures that something else made ------------------------------------------------------------


def values(place: Path, source: Path, **more: Any) -> dict[str, float]:
    return {name: figure.value for name, figure in judged(place, source=str(source), **more).figures.items()}


def test_pictures_of_another_tool_are_compared_with_real_ones(source: Path, tmp_path: Path):
    made = make_pictures(tmp_path / "made", 30, side=24)
    before = sorted(made.rglob("*"))
    result = judged(made, source=str(source))
    assert (result.size, result.generated, result.real) == ("24x24", 30, PICTURES)
    assert result.origin["generator"]["count"] == 30
    assert judged(made, source=str(source), count=14).generated == 14
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        for path in sorted(made.rglob("*.png")):
            archive.write(path, path.relative_to(made))
    assert values(tmp_path / "made.zip", source) == values(made, source)
    assert ask(made, "--source", source) == 0
    assert sorted(made.rglob("*")) == before, "nothing is written among them"


def test_the_same_pictures_are_perfect_and_noise_is_not(source: Path, tmp_path: Path):
    shutil.copytree(source, tmp_path / "again")
    same = values(tmp_path / "again", source)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", rng.integers(0, 256, (40, 16, 16, 3), np.uint8))
    noise = values(tmp_path / "noise.npz", source)
    assert same["coverage"] == 1 == same["precision"]
    assert abs(same["fid"]) < 1e-3 < noise["fid"]
    assert noise["kid"] > same["kid"]


def test_too_few_pictures_or_none_are_refused(source: Path, tmp_path: Path):
    few = make_pictures(tmp_path / "few", 5)
    with pytest.raises(HasamaError, match=r"few holds 5 pictures; evaluating takes at least"):
        ask(few, "--source", source)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_text("no picture")
    with pytest.raises(HasamaError, match=r"No picture in .*broken can be read"):
        ask(tmp_path / "broken", "--source", source)
    with pytest.raises(HasamaError, match="There is no run at"):
        ask(few)  # without real ones it can but be meant as a run
    with pytest.raises(HasamaError, match="holds 40 pictures, not --count 41"):
        ask(source, "--source", source, "--count", 41)


def test_a_folder_of_runs_is_none_of_pictures(run: Path, source: Path):
    """Whose grids and plots would be compared."""
    (run / "samples").mkdir(exist_ok=True)
    for number in range(20):
        shutil.copy(next(source.rglob("*.png")), run / "samples" / f"{number}.png")
    with pytest.raises(HasamaError, match="There is no run at"):
        ask(run.parent, "--source", source)


def test_pictures_that_lie_on_their_side_are_upright(source: Path, tmp_path: Path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    (tmp_path / "made").mkdir()
    for number in range(20):
        shade = Image.fromarray(np.full((20, 30, 3), 10 * number, np.uint8))
        shade.save(tmp_path / "made" / f"{number}.jpg", exif=exif)
    assert judged(tmp_path / "made", source=str(source)).size == "20x30"


def test_a_folder_called_like_a_base_is_the_folder(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(source, "portraits")
    assert judged("portraits", source=str(source)).size == "20x20"
    assert not is_run(Path("portraits"))
    assert is_run(Path("emoji"))


# --- what is refused ------------------------------------------------------------------------------


def test_no_run_no_generator_no_source(run: Path, tmp_path: Path):
    with pytest.raises(HasamaError, match="There is no run and no generator at"):
        ask(tmp_path / "nowhere")
    with pytest.raises(HasamaError, match="There is no run at"):
        ask(tmp_path)
    with pytest.raises(HasamaError, match=r"is a generator alone: say by --source"):
        ask(run / "generator.safetensors")
    with pytest.raises(HasamaError, match="There are no pictures at"):
        ask(run, "--source", tmp_path / "nowhere")
    (run / "generator.safetensors").unlink()
    with pytest.raises(HasamaError, match="has no generator yet: it is saved every"):
        ask(run)


def test_a_damaged_generator_or_recipe_or_list_of_images(run: Path):
    images = run / "images.json"
    right = images.read_text()
    images.write_text("{}")
    with pytest.raises(HasamaError, match=r"images\.json is damaged"):
        ask(run)
    images.write_text(right)
    (run / "generator.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(HasamaError, match="is not a readable safetensors file"):
        ask(run)
    (run / "recipe.json").write_text("no json")
    with pytest.raises(HasamaError, match="recipe"):
        ask(run)


def test_pictures_that_are_gone_or_others(run: Path, source: Path):
    shutil.rmtree(cache_folder() / "pictures")
    next(iter((source / "dark").iterdir())).unlink()
    with pytest.raises(HasamaError, match=r"no longer holds what .* was trained on\. .*--source"):
        ask(run)
    shutil.rmtree(source)
    with pytest.raises(HasamaError, match=r"^The pictures of .* are gone: There are no pictures at .*--source"):
        ask(run)


def test_too_few_pictures(run: Path, tmp_path: Path):
    with pytest.raises(HasamaError, match="holds 11 pictures; evaluating takes at least 12"):
        ask(run, "--source", make_pictures(tmp_path / "few", 11))
    assert judged(run, source=str(make_pictures(tmp_path / "enough", 12)), count=12).real == 12


@pytest.mark.parametrize("words", [("--count", 11), ("--count", 0), ("--count", 1_000_001), ("--seed", -1)])
def test_counts_and_seeds_out_of_range(run: Path, words: tuple[object, ...]):
    with pytest.raises(HasamaError, match="--count takes 12 to 1000000, --seed at least 0"):
        ask(run, *words)


def test_from_python_a_source_may_be_a_path(run: Path, tmp_path: Path):
    enough = make_pictures(tmp_path / "enough", 12)
    assert judged(run, source=enough, count=12).figures == judged(run, source=str(enough), count=12).figures


def test_features_and_devices_that_there_are_not(run: Path, looked: list[int]):
    with pytest.raises(HasamaError, match="no network for features called 'clip'"):
        ask(run, "--features", "clip")
    with pytest.raises(HasamaError, match="The device 'abacus' cannot be used"):
        ask(run, "--device", "abacus")
    assert looked == []


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_figures_that_cannot_be_written_are_shown(
    run: Path, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """They may have taken an hour."""

    def refuse(path: Path, data: object) -> None:
        raise HasamaError(f"Cannot write {path}: Permission denied")

    monkeypatch.setattr("hasama.evaluation.evaluate.write_json", refuse)
    with pytest.raises(HasamaError, match=r"Cannot write .*metrics\.json"):
        ask(run, *flags)
    said = capsys.readouterr().out
    assert all(name in said for name in NAMES)


@pytest.mark.parametrize("damage", ["no json", "[1]", "3"])
def test_metrics_that_are_damaged_are_not_written_over(run: Path, damage: str):
    (run / "metrics.json").write_text(damage)
    with pytest.raises(HasamaError, match=r"metrics .*metrics\.json (is|are) damaged"):
        ask(run)
    assert (run / "metrics.json").read_text() == damage


def test_no_room_for_the_cache(run: Path, monkeypatch: pytest.MonkeyPatch):
    (cache_folder() / "features").touch()
    with pytest.raises(HasamaError, match=r"Cannot write .*HASAMA_CACHE names another place"):
        ask(run)


def test_weights_that_make_no_numbers(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extractors, "_means", lambda net, images: torch.full((len(images), WIDTHS[-1]), torch.nan))
    with pytest.raises(HasamaError, match=r"real pictures are not finite numbers: the network's weights are damaged"):
        ask(run)


def test_who_helped_to_train_is_said_to_flatter(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Under the figures, in metrics.json and in the model card, of a run and of its generator alone."""
    out = make_run(source, tmp_path / "run", vision_aid="efficientnet")
    assert ask(out) == 0
    assert "flatters" not in capsys.readouterr().out
    assert ask(out, "--features", "efficientnet") == 0
    assert "which flatters it: judge it by --features vgg19" in " ".join(capsys.readouterr().out.split())
    reports = json.loads((out / "metrics.json").read_text())
    assert [helped_to_train(report) for report in reports] == [False, True]
    alone = load_generator(Run(out).generator)
    assert alone.recipe is not None
    assert alone.recipe.vision_aid == "efficientnet"
    card = model_card(Trained(Run(out).generator, alone, Run(out)))
    assert [("vgg19" in line, "flatters" in line) for line in card.splitlines() if line.startswith("- kid:")] == [
        (True, False),
        (False, True),
    ]


def test_a_base_has_no_pictures():
    with pytest.raises(HasamaError, match=r"The base portraits comes without its pictures \(KaoKore.*--source"):
        list(evaluate("portraits"))
