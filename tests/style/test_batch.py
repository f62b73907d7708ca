"""Folders of pictures: every pair painted once, under a name of its own, whatever else lies around."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from command import refused
from easel import brief, hasama_here, lay_out, pixels_of, style_scene
from hasama.errors import HasamaError
from hasama.style.jobs.batch import batch_jobs, names_for, pictures_in
from hasama.style.jobs.painting_file import Job, StyleSource
from odd_files import scene

QUICK = {"size": 24, "first_iterations": 2}


def put(folder: Path, *names: str) -> Path:
    """A folder of small pictures, all different."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        scene(24, 16, seed=number).save(folder / name)
    return folder


def job(content: Path, *styles: Path, out: Path) -> Job:
    return Job(content, tuple(map(StyleSource, styles)), out)


def files_in(folder: Path) -> dict[str, int]:
    """{name: when it was written}"""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    }


# --- the command ----------------------------------------------------------------------------------


def test_every_content_in_every_style_and_what_is_done_is_left_alone(tmp_path: Path):
    contents, styles = put(tmp_path / "contents", "a.png", "b.png"), tmp_path / "styles"
    styles.mkdir()
    for number in (1, 2):
        style_scene(20, 20, seed=number).rotate(90 * number).save(styles / f"s{number}.png")
    out = tmp_path / "out"
    command = ["style", contents, styles, "--out", out, *brief(**QUICK)]
    done = hasama_here(*command)
    assert done.returncode == 0, done.stderr
    pictures = [f"{content}--{style}.png" for content in "ab" for style in ("s1", "s2")]
    assert sorted(files_in(out)) == sorted(pictures + [f"{name}.json" for name in pictures])
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("[")] == [
        f"[{number}/4]" for number in (1, 2, 3, 4)
    ]
    assert len({pixels_of(out / name).tobytes() for name in pictures}) == 4

    before = files_in(out)
    (out / "b--s1.png").unlink()
    again = hasama_here(*command)
    assert again.returncode == 0
    assert again.stdout.count("is already painted.") == 3
    after = files_in(out)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"b--s1.png", "b--s1.png.json"}


def test_what_is_broken_is_told_and_passed_over(tmp_path: Path):
    contents = put(tmp_path / "contents", "a.png", "b.png", "c.png")
    whole = (contents / "b.png").read_bytes()
    (contents / "b.png").write_bytes(whole[: len(whole) // 2])
    (contents / "notes.txt").write_text("not a picture, nor called one")
    _, style = lay_out(tmp_path)
    command = ["style", contents, style, "--out", tmp_path / "out", *brief(**QUICK)]
    done = hasama_here(*command)
    assert done.returncode == 1  # a part of the work could not be done
    assert done.stderr.count("hasama: ") == 1
    assert f"Cannot read the picture {contents / 'b.png'}: truncated" in " ".join(done.stderr.split())
    assert "2 of 3 painted; 1 could not be." in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a--s.png", "c--s.png"]
    assert "Traceback" not in done.stderr


def test_where_nothing_can_be_painted_the_command_fails(tmp_path: Path):
    contents = put(tmp_path / "contents", "a.png", "b.png")
    (tmp_path / "s.png").write_text("no picture")
    done = hasama_here("style", contents, tmp_path / "s.png", "--out", tmp_path / "out", *brief(**QUICK))
    assert done.returncode == 2
    assert "0 of 2 painted; 2 could not be." in done.stdout
    assert done.stderr.count("Cannot read the picture") == 2


def test_an_out_folder_within_the_pictures_is_not_painted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    contents = put(tmp_path / "photos", "a.png")
    _, style = lay_out(tmp_path)
    monkeypatch.chdir(contents)  # the default place is here, within
    for turn in range(2):
        done = hasama_here("style", ".", style, *brief(**QUICK))
        assert done.returncode == 0, done.stderr
        assert ("already painted" in done.stdout) == bool(turn)
    assert sorted(files_in(contents)) == ["a.png", "photos--s/a--s.png", "photos--s/a--s.png.json"]


def test_folders_that_are_refused(tmp_path: Path):
    _, style = lay_out(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    contents = put(tmp_path / "contents", "a.png", "b.png")
    (tmp_path / "file").write_text("mine")
    for folder in ("empty", "texts"):
        refused(hasama_here("style", tmp_path / folder, style, "--out", tmp_path / "out"), "There are no pictures in")
        refused(hasama_here("style", style, tmp_path / folder, "--out", tmp_path / "out"), "There are no pictures in")
    masked = hasama_here("style", style, contents, "--where", style, "--out", tmp_path / "out")
    refused(masked, "a folder of styles takes none")
    assert not (tmp_path / "out").exists()
    blocked = hasama_here("style", contents, style, "--out", tmp_path / "file", *brief(**QUICK))
    assert blocked.returncode == 2
    assert "Cannot write" in blocked.stderr
    assert (tmp_path / "file").read_text() == "mine"


# --- jobs -----------------------------------------------------------------------------------------


def test_pictures_are_found_in_sub_folders_and_hidden_files_are_not(tmp_path: Path):
    put(
        tmp_path / "p", "b.png", "a.JPG", "x/y/c.webp", ".hidden.png", ".thumbs/d.png", "x/.cache/e.png",
        "out/f.png", "outside/g.png", "x/out/h.png",
    )  # fmt: skip
    (tmp_path / "p" / "notes.txt").write_text("")
    (tmp_path / "p" / "folder.png").mkdir()
    found = [path.relative_to(tmp_path / "p").as_posix() for path in pictures_in(tmp_path / "p", tmp_path / "p/out")]
    assert found == ["a.JPG", "b.png", "outside/g.png", "x/out/h.png", "x/y/c.webp"]


def test_a_hidden_folder_may_hold_the_folder_of_pictures(tmp_path: Path):
    put(tmp_path / ".private" / "p", "a.png")
    assert [path.name for path in pictures_in(tmp_path / ".private" / "p")] == ["a.png"]


def test_sub_folders_and_equal_names_stay_apart(tmp_path: Path):
    contents = put(tmp_path / "contents", "a.jpg", "a.png", "x/a.png", "b.c.png")
    _, style = lay_out(tmp_path)
    outs = [one.out for one in batch_jobs(job(contents, style, out=tmp_path / "out"))]
    assert [out.relative_to(tmp_path / "out").as_posix() for out in outs] == [
        "a-jpg--s.png", "a-png--s.png", "b.c--s.png", "x/a--s.png",
    ]  # fmt: skip


def test_names_of_styles_with_dots_are_kept(tmp_path: Path):
    contents = put(tmp_path / "contents", "a.png")
    styles = put(tmp_path / "styles", "night.v1.png", "night.v2.png")
    outs = [one.out.name for one in batch_jobs(job(contents, styles, out=tmp_path / "out"))]
    assert outs == ["a--night.v1.png", "a--night.v2.png"]


def test_single_styles_are_mixed_and_a_folder_s_are_not(tmp_path: Path):
    contents = put(tmp_path / "contents", "a.png", "b.png")
    styles = put(tmp_path / "styles", "s.png", "t.png")
    other = put(tmp_path / "more", "u.png") / "u.png"
    mixed = batch_jobs(job(contents, styles / "s.png", other, out=tmp_path / "out"))
    assert [[style.picture.name for style in one.styles] for one in mixed] == [["s.png", "u.png"]] * 2
    assert [one.out.name for one in mixed] == ["a--s+u.png", "b--s+u.png"]
    single = batch_jobs(job(contents / "a.png", styles, other, out=tmp_path / "out"))
    assert [one.out.name for one in single] == ["a--s.png", "a--t.png", "a--u.png"]
    assert all(len(one.styles) == 1 for one in single)


def test_paintings_among_the_styles_are_no_styles(tmp_path: Path):
    """The second call must not take what the first has painted for styles."""
    content, _ = lay_out(tmp_path)
    styles = put(tmp_path / "styles", "s.png")
    one = job(content, styles, out=styles / "painted")
    assert len(batch_jobs(one)) == 1
    put(styles / "painted", "c--s.png")
    assert len(batch_jobs(one)) == 1


def test_masks_belong_to_single_styles(tmp_path: Path):
    styles = put(tmp_path / "styles", "s.png")
    source = StyleSource(styles, where=styles / "s.png")
    with pytest.raises(HasamaError, match="a folder of styles takes none"):
        batch_jobs(Job(styles / "s.png", (source,), tmp_path / "out"))
    with pytest.raises(HasamaError, match="no pictures in"):
        pictures_in(tmp_path / "styles" / "nowhere")


def test_two_pairs_never_share_a_file(tmp_path: Path):
    """The content `a--s` in the style `t`, and `a` in `s--t`, would both be `a--s--t`."""
    contents = put(tmp_path / "contents", "a.png", "a--s.png")
    styles = put(tmp_path / "styles", "t.png", "s--t.png")
    outs = [one.out for one in batch_jobs(job(contents, styles, out=tmp_path / "out"))]
    assert len(set(outs)) == 4, outs


parts = st.sampled_from(["a", "b", "a-png", "a-jpg", "a-png-2", "a-2", "x/a"])
endings = st.sampled_from([".png", ".jpg", ".PNG", ""])


@settings(max_examples=50)
@example(["a-jpg-2.gif", "a-jpg.gif", "a.jpg", "a.png"])
@given(st.lists(st.builds(str.__add__, parts, endings), min_size=1, max_size=7))
def test_names_are_all_different_and_the_plain_ones_are_kept(names: list[str]):
    made = names_for([Path(name) for name in names])
    assert len(set(made)) == len(made)
    if len(names) == 1:
        assert made == [str(Path(names[0]).with_suffix(""))]


def test_a_picture_is_painted_from_a_folder_as_it_is_alone(tmp_path: Path):
    contents = put(tmp_path / "contents", "a.png")
    _, style = lay_out(tmp_path)
    hasama_here("style", contents, style, "--out", tmp_path / "out", *brief(**QUICK))
    hasama_here("style", contents / "a.png", style, "--out", tmp_path / "single.png", *brief(**QUICK))
    hasama_here("style", contents / "a.png", style, "--out", tmp_path / "folder", *brief(**QUICK))
    single = pixels_of(tmp_path / "single.png").tobytes()
    assert pixels_of(tmp_path / "out" / "a--s.png").tobytes() == single
    assert pixels_of(tmp_path / "folder" / "a--s.png").tobytes() == single
    assert Image.open(tmp_path / "single.png").size == (24, 16)
