"""A painting in a file: reported in full, and the same to the bit however often it was stopped."""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from easel import BRIEF_RECIPE, STEPS, job_in, lay_out, pixels_of
from hasama.errors import HasamaError
from hasama.perception.vgg import VGG
from hasama.perception.vgg_weights import load_weights
from hasama.pictures.tensors import to_pixels
from hasama.style.canvas.canvas import WINDOW, Canvas
from hasama.style.canvas.pictures import Picture, read_picture, to_canvas
from hasama.style.jobs.painting_file import Job, StyleSource, fingerprint, is_done, paint_file, read_part
from hasama.style.painting import stylize
from hasama.style.recipe import STYLE_RECIPES, StyleRecipe
from hasama.style.subject import Style
from hasama.style.transfer import Frame

ADAM = dataclasses.replace(BRIEF_RECIPE, optimizer="adam")
SETTLING = dataclasses.replace(  # over as soon as a plateau can be seen, long before its limit
    ADAM, size=24, first_iterations=999, plateau=1.0, style_layers="relu1_1", content_layers="relu1_1"
)

RECIPES = {
    "adam": ADAM,
    "lbfgs": dataclasses.replace(BRIEF_RECIPE, optimizer="lbfgs", start="noise"),
    "descent": dataclasses.replace(BRIEF_RECIPE, optimizer="gradient-descent", learning_rate=0.5),
    "no average, in grey": dataclasses.replace(ADAM, average=0.0, keep_colour="luminance"),
    "settling": SETTLING,
}


class Done:
    """A painting that nothing interrupted."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.steps: list[tuple[int, int, float]] = []
        self.judged = after = torch.zeros(0)
        """The canvas that the last step judged."""
        for frame in paint_file(job):
            self.steps.append((frame.scale, frame.iteration, frame.total))
            self.judged, after = after, frame.canvas.image.detach().clone()
            self.frame = frame
        self.told = told_by(job)


def told_by(job: Job) -> dict[str, Any]:
    """A painting's report."""
    return json.loads(job.report.read_text(encoding="utf-8"))


def paint(job: Job, stop_after: int | None = None) -> list[Frame]:
    """Paint; stopped after so many frames if asked."""
    count: list[int] = []

    def stop() -> bool:
        count.append(1)
        return len(count) == stop_after

    return list(paint_file(job, stop))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """One for each of `RECIPES`, painted when first asked for."""

    class Paintings(dict):
        def __missing__(self, name: str) -> Done:
            self[name] = Done(job_in(tmp_path_factory.mktemp("undisturbed"), recipe=RECIPES[name]))
            return self[name]

    return Paintings()


# --- the report -----------------------------------------------------------------------------------


def test_what_the_format_cannot_hold_is_told_at_once_and_in_the_report(tmp_path: Path):
    job = job_in(tmp_path)
    content = read_picture(job.content)
    half = np.full(content.size, 100, np.uint8)
    job = job._replace(out=tmp_path / "a.bmp", ready=content._replace(alpha=half))
    first, *rest = paint_file(job)
    assert "BMP holds no transparency: a.bmp lies on white" in first.notice
    assert not any(frame.notice for frame in rest)
    assert [notice for notice in told_by(job)["notices"] if "BMP" in notice] == [first.notice]


def test_the_report_tells_what_was_painted_and_how(undisturbed: dict[str, Done]):
    done = undisturbed["adam"]
    told, job = done.told, done.job
    assert told["size"] == [48, 32] == list(Image.open(job.out).size)
    assert told["seed"] == 0
    assert told["iterations"] == len(done.steps) == STEPS
    assert told["curve"] == [list(step) for step in done.steps]
    assert StyleRecipe(**told["recipe"]) == job.recipe
    assert told["content"] == str(job.content)
    assert told["styles"] == [{"picture": str(job.styles[0].picture), "weight": 1.0, "mask": None, "where": None}]
    assert told["device"] == "cpu"
    assert told["window"] == 48
    assert told["notices"] == []
    assert told["seconds"] > 0
    assert 50 < told["peak_memory_mib"] < 100_000  # no unit gone wrong
    assert sorted(path.name for path in job.out.parent.iterdir()) == ["c.png", "out.png", "out.png.json", "s.png"]


def test_the_reported_losses_add_up_and_are_the_last_steps(undisturbed: dict[str, Done]):
    done = undisturbed["adam"]
    losses = dict(done.told["losses"])
    total = losses.pop("total")
    assert set(losses) == {"content", "style", "tv"}
    assert total == pytest.approx(sum(losses.values()), rel=1e-12)
    assert total == done.steps[-1][2]
    assert losses == done.frame.losses


def test_a_reported_distance_is_what_the_network_sees_without_weights(undisturbed: dict[str, Done]):
    done = undisturbed["adam"]
    told, frame = done.told, done.frame
    assert set(told["distances"]) == {"content relu2_1", "style relu1_1", "style relu2_1"}
    with torch.no_grad():
        seen = [
            VGG(load_weights(), ["relu2_1"])(image)["relu2_1"].double()
            for image in (done.judged, to_canvas(read_picture(done.job.content), 32, 48))
        ]
    expected = (seen[0] - seen[1]).square().mean().item()
    assert told["distances"]["content relu2_1"] == pytest.approx(expected, rel=1e-4)
    halves = [told["distances"][f"style {layer}"] * 0.5 for layer in ("relu1_1", "relu2_1")]  # equal shares of 1.0
    assert sum(halves) == pytest.approx(frame.losses["style"])


def test_a_layer_that_counts_for_nothing_has_no_distance(tmp_path: Path):
    job = job_in(tmp_path, recipe=dataclasses.replace(BRIEF_RECIPE, content_weight=0.0, iterations=1, size=24))
    paint(job)
    assert set(told_by(job)["distances"]) == {"style relu1_1", "style relu2_1"}
    assert set(told_by(job)["losses"]) == {"style", "tv", "total"}


def test_a_long_curve_is_thinned_but_keeps_its_first_point_and_its_order(
    undisturbed: dict[str, Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps = [list(step) for step in undisturbed["adam"].steps]  # painted before its report could be thinned, too
    monkeypatch.setattr("hasama.style.jobs.painting_file.CURVE_POINTS", 6)
    job = job_in(tmp_path, recipe=ADAM)
    paint(job)
    told = told_by(job)
    assert len(told["curve"]) <= 6
    assert told["curve"][0] == steps[0]
    assert told["curve"] == [step for step in steps if step in told["curve"]]
    assert told["iterations"] == STEPS


# --- stopping and going on ------------------------------------------------------------------------

STOPS = {  # recipe: frames before each stop, in one and the same painting
    "adam": [2, 2, 6],  # within a scale, at its end, after the last frame
    "lbfgs": [3, 1],
    "descent": [5],
    "no average, in grey": [6],
    "settling": [WINDOW + 5, WINDOW - 5],  # the second at the moment of settling
}


@pytest.mark.parametrize("name", STOPS)
def test_stopped_and_gone_on_with_is_the_same_to_the_bit(name: str, undisturbed: dict[str, Done], tmp_path: Path):
    whole = undisturbed[name]
    job = job_in(tmp_path, recipe=RECIPES[name])
    steps = []
    for turn, count in enumerate([*STOPS[name], None]):
        frames = paint(job, count)
        steps += [(frame.scale, frame.iteration, frame.total) for frame in frames]
        if frames:
            assert frames[0].notice == (f"Going on from {job.part}." if turn else "")
            assert not any(frame.notice for frame in frames[1:])
        if count is not None:
            assert len(frames) == count
            assert job.part.exists()
            assert not job.out.exists()
            assert not job.report.exists()
            assert not is_done(job)
    assert steps == whole.steps
    assert np.array_equal(pixels_of(job.out), pixels_of(whole.job.out))
    assert not job.part.exists()
    told = told_by(job)
    for field in ("losses", "distances", "iterations", "size", "window", "threads", "curve", "recipe", "notices"):
        assert told[field] == whole.told[field], field


def test_at_once_too_it_is_the_same_wherever_it_was_stopped(tmp_path: Path):
    """`instant` paints a scale over the one before, at several levels: what it goes on from is that one."""
    recipe = STYLE_RECIPES["instant"].but(size=96, smallest=48, precision="fp32")
    whole = job_in(tmp_path / "whole", recipe=recipe)
    frames = paint(whole)
    assert frames[-1].scales == 2
    for count in range(1, len(frames)):
        job = job_in(tmp_path / str(count), recipe=recipe)
        assert len(paint(job, count)) == count
        assert len(paint(job)) <= len(frames)
        assert np.array_equal(pixels_of(job.out), pixels_of(whole.out)), count


def test_leaving_the_loop_saves(undisturbed: dict[str, Done], tmp_path: Path):
    job = job_in(tmp_path, recipe=ADAM)
    for frame in paint_file(job):
        if frame.scale == 1:
            break
    assert job.part.exists()
    rest = paint(job)
    assert len(rest) == STEPS - 5
    assert np.array_equal(pixels_of(job.out), pixels_of(undisturbed["adam"].job.out))


def test_one_wrong_bit_in_what_was_painted_is_not_painted_on(undisturbed: dict[str, Done], tmp_path: Path):
    job = job_in(tmp_path, recipe=ADAM)
    paint(job, 7)
    content = bytearray(job.part.read_bytes())
    with zipfile.ZipFile(job.part) as opened:  # the largest file in it: the picture, or the optimizer's memory
        largest = max(opened.infolist(), key=lambda one: one.file_size)
    content[largest.header_offset + largest.file_size // 2 + 100] ^= 64
    job.part.write_bytes(content)
    assert read_part(job.part) is None
    assert len(paint(job)) == STEPS
    assert np.array_equal(pixels_of(job.out), pixels_of(undisturbed["adam"].job.out))


def test_what_was_used_before_a_stop_counts(tmp_path: Path):
    job = job_in(tmp_path)
    paint(job, 4)
    state = torch.load(job.part, weights_only=True)
    assert state["seconds"] > 0
    state |= {"seconds": 5000.0, "peak": 2**50, "notices": ["noted before"]}
    torch.save(state, job.part)
    paint(job, 2)
    paint(job)
    told = told_by(job)
    assert 5000 < told["seconds"] < 6000
    assert told["peak_memory_mib"] == 2**30
    assert told["iterations"] == STEPS
    assert told["notices"] == ["noted before"]


def test_going_on_keeps_the_windows_it_began_with(undisturbed: dict[str, Done], tmp_path: Path):
    job = job_in(tmp_path, recipe=ADAM)
    paint(job, 7)
    state = torch.load(job.part, weights_only=True)
    torch.save(state | {"side": 32}, job.part)
    paint(job)
    assert told_by(job)["window"] == 32
    error = pixels_of(job.out).astype(int) - pixels_of(undisturbed["adam"].job.out)
    assert np.abs(error).max() <= 1


@pytest.mark.parametrize("what", ["recipe", "content", "style", "weight", "mask", "depth"])
def test_another_painting_begins_anew(what: str, tmp_path: Path):
    job = job_in(tmp_path)
    paint(job, 3)
    first = next(paint_file(job))
    assert (first.scale, first.iteration) == (0, 4)  # the same painting goes on

    source = job.styles[0]
    if what == "recipe":
        job = job._replace(recipe=dataclasses.replace(job.recipe, tv_weight=3.0))
    elif what == "content":
        Image.open(job.content).rotate(180).save(job.content)
    elif what == "style":
        Image.open(source.picture).rotate(90).save(source.picture)
    elif what == "weight":
        job = job._replace(styles=(source._replace(weight=2.0),))
    elif what == "mask":
        Image.new("L", (8, 8), 255).save(tmp_path / "mask.png")
        job = job._replace(styles=(source._replace(mask=tmp_path / "mask.png"),))
    else:
        job = job._replace(sixteen_bits=True)
    first = next(paint_file(job))
    assert (first.scale, first.iteration) == (0, 1)
    kept = job.part.with_name(f"{job.part.name}.old")  # nobody loses a painting by a changed flag
    assert kept.exists()
    assert str(kept) in first.notice
    third = paint_file(job._replace(recipe=dataclasses.replace(job.recipe, seed=11)), lambda: True)
    list(paint_file(job, lambda: True))
    before = kept.read_bytes()
    notice = next(third).notice
    assert kept.read_bytes() == before  # nor by two
    assert notice.endswith(f"{job.part.name}-2.old.")


class Trap:
    """Pickled code that leaves a file behind where it is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_damaged_part_is_ignored(undisturbed: dict[str, Done], tmp_path: Path):
    job = job_in(tmp_path, recipe=ADAM)
    paint(job, 3)
    whole = job.part.read_bytes()
    trap = tmp_path / "trapped"

    def save(value: object) -> bytes:
        torch.save(value, job.part)
        return job.part.read_bytes()

    strange = (
        b"", b"text", whole[: len(whole) // 2], bytes(1000),
        save({"another": "thing"}), save([1, 2]), save({"mark": Trap(trap), "frame": {}, "side": 1}),
    )  # fmt: skip
    for damaged in strange:
        job.part.write_bytes(damaged)
        assert read_part(job.part) is None
        assert not trap.exists()
    job.part.write_bytes(whole[:-500])
    assert len(paint(job)) == STEPS
    assert np.array_equal(pixels_of(job.out), pixels_of(undisturbed["adam"].job.out))
    assert not job.part.exists()


def test_a_part_of_another_version_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a canvas remembers changes from version to version, and so does what comes of it."""
    job = job_in(tmp_path)
    paint(job, 3)
    monkeypatch.setattr("hasama.style.jobs.painting_file.__version__", "0.0.1")
    assert next(paint_file(job)).iteration == 1


# --- is it done? ----------------------------------------------------------------------------------


def test_done_is_what_has_its_picture_and_a_report_of_the_same_painting(tmp_path: Path):
    job = job_in(tmp_path, recipe=dataclasses.replace(BRIEF_RECIPE, size=24, first_iterations=1))
    assert not is_done(job)
    paint(job)
    assert is_done(job)
    assert is_done(job._replace(preview=True))  # the same picture
    assert not is_done(job._replace(recipe=dataclasses.replace(job.recipe, seed=1)))
    assert not is_done(job._replace(out=tmp_path / "other.png"))
    assert not is_done(job._replace(styles=(StyleSource(job.content),)))
    assert not is_done(job._replace(content=job.styles[0].picture))

    report = job.report.read_text()
    for damaged in ("", "{", "[]", "{}", "null", '{"fingerprint": "another"}'):
        job.report.write_text(damaged)
        assert not is_done(job)
    job.report.write_bytes(b"\xff\xfe\x00")
    assert not is_done(job)
    job.report.write_text(report)
    assert is_done(job)
    job.out.unlink()
    assert not is_done(job)


# --- the preview ----------------------------------------------------------------------------------


def test_the_preview_is_there_from_the_first_step_and_ends_as_the_picture(tmp_path: Path):
    job = job_in(tmp_path)._replace(preview=True, sixteen_bits=None)
    frames = paint_file(job)
    first = next(frames)
    preview = tmp_path / "out-preview.png"
    assert np.array_equal(pixels_of(preview), np.asarray(first.picture))
    early = pixels_of(preview)
    assert early.shape == (16, 24, 3)  # the coarsest scale
    for _ in frames:
        pass
    assert np.array_equal(pixels_of(preview), pixels_of(job.out))


def test_no_preview_unless_asked(undisturbed: dict[str, Done]):
    assert not undisturbed["adam"].job.preview_file.exists()


# --- stylize --------------------------------------------------------------------------------------


def test_stylize_gives_the_file_s_picture_from_paths_and_from_pictures(undisturbed: dict[str, Done]):
    whole = undisturbed["adam"]
    content, style = whole.job.content, whole.job.styles[0].picture
    opened = read_picture(content)
    ways = (
        (content, style),
        (str(content), [str(style)]),
        (opened, Style(read_picture(style))),
        (Picture(opened.pixels), [Style(read_picture(style), 3.0)]),  # a single style's weight cancels
    )
    for one, other in ways:
        *_, last = stylize(one, other, ADAM)
        assert np.array_equal(to_pixels(last.image)[0], pixels_of(whole.job.out))
        assert np.array_equal(np.asarray(last.picture), pixels_of(whole.job.out))
        assert last.done == 1


def test_the_styles_weights_decide_where_between_them_the_painting_lies(tmp_path: Path):
    content, _ = lay_out(tmp_path)
    red, blue = (Style(Picture(np.full((32, 32, 3), colour, np.uint8))) for colour in ((220, 30, 30), (30, 30, 220)))
    recipe = dataclasses.replace(ADAM, size=24, first_iterations=25, content_weight=0.0, learning_rate=0.1)

    def redness(*weights: float) -> float:
        styles = [style._replace(weight=weight) for style, weight in zip((red, blue), weights, strict=True)]
        *_, last = stylize(content, styles, recipe)
        return float((last.image[0, 0] - last.image[0, 2]).mean())

    mostly_red, even, mostly_blue = redness(9, 1), redness(1, 1), redness(1, 9)
    assert mostly_red > even + 0.1 > mostly_blue + 0.2
    assert redness(2, 2) == even


def test_stylize_refuses_what_cannot_be_painted(tmp_path: Path):
    content, style = lay_out(tmp_path)
    with pytest.raises(HasamaError, match="at least one picture"):
        stylize(content, [])
    with pytest.raises(HasamaError, match="weight must be positive"):
        stylize(content, Style(read_picture(style), 0.0))
    with pytest.raises(HasamaError, match="weight must be positive"):
        stylize(content, Style(read_picture(style), float("nan")))
    with pytest.raises(HasamaError, match="no picture at"):
        stylize(tmp_path / "none.png", style)
    with pytest.raises(HasamaError, match="no picture at"):
        stylize(content, style, dataclasses.replace(BRIEF_RECIPE, start=str(tmp_path / "none.png")))
    with pytest.raises(HasamaError, match="no layer of vgg19"):
        stylize(content, style, dataclasses.replace(BRIEF_RECIPE, style_layers="relu1_3"))


# --- places that cannot be written ----------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_told_before_any_work(tmp_path: Path):
    job = job_in(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "kept").write_text("mine")
    for out in (tmp_path / "file" / "out.png", tmp_path / "folder.png", Path("/proc/nowhere/out.png")):
        with pytest.raises(HasamaError, match="Cannot write"):
            next(paint_file(job._replace(out=out)))
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "folder.png" / "kept").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", "file", "folder.png", "s.png"]


def test_a_folder_that_goes_away_while_painting_is_told_and_what_was_there_stays(tmp_path: Path):
    job = job_in(tmp_path / "pictures")._replace(out=tmp_path / "new" / "out.png")
    frames = paint_file(job)
    next(frames)
    if (tmp_path / "new").exists():
        for path in (tmp_path / "new").iterdir():
            path.unlink()
        (tmp_path / "new").rmdir()
    (tmp_path / "new").write_text("mine")
    with pytest.raises(HasamaError, match="Cannot write"):
        list(frames)
    assert (tmp_path / "new").read_text() == "mine"


def test_an_ending_that_is_no_picture_s_is_refused_before_any_work(tmp_path: Path):
    with pytest.raises(HasamaError, match=r"Cannot write a picture called out\.xyz"):
        next(paint_file(job_in(tmp_path, "out.xyz")))


def test_a_new_picture_replaces_an_old_one_only_when_it_is_whole(tmp_path: Path):
    job = job_in(tmp_path)
    job.out.write_bytes(b"old")
    paint(job, 3)
    assert job.out.read_bytes() == b"old"
    paint(job)
    assert pixels_of(job.out).shape == (32, 48, 3)


def test_a_state_of_the_canvas_survives_the_file(tmp_path: Path):
    """What `.part` holds is all that a canvas is: moments of the optimizer, average, losses."""
    job = job_in(tmp_path, recipe=ADAM)
    last = paint(job, 3)[-1]
    state = torch.load(job.part, weights_only=True)["frame"]
    again = Canvas.from_state(state["canvas"], job.recipe, torch.device("cpu")).state_dict()
    kept = last.canvas.state_dict()
    for key in ("image", "average"):
        assert torch.equal(again[key], kept[key])
    assert (again["steps"], again["past"], again["kind"]) == (kept["steps"], kept["past"], "adam")
    for name, value in kept["optimizer"]["state"][0].items():
        assert torch.equal(again["optimizer"]["state"][0][name], value)


def test_two_flat_pictures_of_other_shapes_are_two_paintings(tmp_path: Path):
    job = job_in(tmp_path)
    lying, standing = (Picture(np.full((*size, 3), 90, np.uint8)) for size in ((10, 20), (20, 10)))
    assert fingerprint(job, lying) != fingerprint(job, standing)
