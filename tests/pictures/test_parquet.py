"""Pictures in tables: Parquet, and datasets as Hugging Face saves them."""

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from command import forked, hide, refused, run_hasama
from hasama.errors import HasamaError
from hasama.pictures.cache import open_pictures
from hasama.pictures.sources import parquet as tables
from hasama.pictures.sources.sources import open_source
from hasama.recipe import Recipe

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

FORM = Recipe(size="8")


def file_of(grey: int, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (grey, 0, 0)).save(out, kind)
    return out.getvalue()


def greys(source: object, recipe: Recipe = FORM) -> list[int]:
    pictures = open_pictures(str(source), recipe)
    return pictures.take(np.arange(len(pictures)))[:, 0, 0, 0].tolist()


def write(path: Path, rows: int = 6, group: int = 2, **columns: list) -> Path:
    """A Parquet file of red pictures, 10 apart."""
    image = columns.pop("image", None) or [{"bytes": file_of(10 * row), "path": None} for row in range(rows)]
    pq.write_table(pa.table({"id": list(range(rows)), "image": image, **columns}), path, row_group_size=group)
    return path


@pytest.mark.parametrize("plain", [False, True])
def test_a_parquet_file(tmp_path: Path, plain: bool):
    image = [file_of(10 * row) for row in range(6)] if plain else None
    write(tmp_path / "a.parquet", label=["cat", "dog", None, "cat", "dog", "cat"], image=image or [])
    assert greys(tmp_path / "a.parquet") == [0, 10, 20, 30, 40, 50]
    report = open_pictures(str(tmp_path / "a.parquet"), FORM.but(labels=True)).report
    assert report.classes == {"cat": 3, "dog": 2}
    assert report.skipped == {"a.parquet/2": "without a class (its label says no class)"}
    assert greys(tmp_path / "a.parquet", FORM.but(only="dog")) == [10, 40]


def test_a_score_hides_no_classes(tmp_path: Path):
    columns: dict[str, Any] = {"label": [0.25, 0.5, 0.1, 0.2, 0.3, 0.9], "class": ["a", "b"] * 3}
    path = write(tmp_path / "a.parquet", **columns)
    assert open_pictures(str(path), FORM.but(labels=True)).report.classes == {"a": 3, "b": 3}


def test_damaged_classes_concern_no_picture(tmp_path: Path):
    path = write(tmp_path / "a.parquet", label=["a word of its own"] * 6)
    column = pq.ParquetFile(path).metadata.row_group(1).column(3)
    assert column.path_in_schema == "label"
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset
    content[start : start + column.total_compressed_size] = b"\xee" * column.total_compressed_size
    path.write_bytes(content)
    assert greys(path) == [0, 10, 20, 30, 40, 50]
    report = open_pictures(str(path), FORM.but(labels=True)).report
    assert report.classes == {"a word of its own": 4}
    assert set(report.skipped.values()) == {"without a class (its label is damaged)"}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([3, 3, 10, 10, -1, 3], {"3": 3, "10": 2}),
        ([True, False] * 3, {"False": 3, "True": 3}),
        ([3.0, 3.0, None, 10.0, float("nan"), 0.5], {"3": 2, "10": 1}),  # pandas' whole numbers with gaps
    ],
)
def test_classes_are_numbers_or_words(tmp_path: Path, labels: list, classes: dict):
    write(tmp_path / "a.parquet", label=labels)
    assert open_pictures(str(tmp_path / "a.parquet"), FORM.but(labels=True)).report.classes == classes


def test_a_folder_of_parquet_files_and_its_part_for_training(tmp_path: Path):
    for number in (1, 0):
        write(tmp_path / f"part-{number}.parquet", image=[file_of(100 * number + row) for row in range(6)])
    assert greys(tmp_path) == [0, 1, 2, 3, 4, 5, 100, 101, 102, 103, 104, 105]
    repository = tmp_path / "repository"
    (repository / "data").mkdir(parents=True)
    (repository / "README.md").write_text("# A dataset")
    for split in ("train", "test"):
        write(repository / f"data/{split}-00000-of-00001.parquet", rows=3 if split == "test" else 6)
    assert len(greys(repository)) == 6
    assert open_source(str(repository)).note == "Only the part 'train' is read, not test."


def test_parts_may_be_a_file_each(tmp_path: Path):
    for number, split in enumerate(("test", "train", "validation")):
        write(tmp_path / f"{split}.parquet", rows=2, image=[file_of(50 * number), file_of(50 * number + 1)])
    assert greys(tmp_path) == [50, 51]
    assert open_source(str(tmp_path)).note == "Only the part 'train' is read, not test, validation."


def test_only_a_few_rows_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "a.parquet", rows=12, group=2)
    real, read = tables._parquet, []

    def watched(file: Path) -> tables.Rows:
        rows = real(file)
        return rows._replace(read=lambda group, name: read.append((group, name)) or rows.read(group, name))

    monkeypatch.setattr(tables, "_parquet", watched)
    source = open_source(str(tmp_path / "a.parquet"))
    assert read == [], "no picture, and there are no labels"
    for number in (0, 1, 4, 5, 1, 4, 10):
        source.entries[number].open()
    assert read == [(0, "image"), (2, "image"), (5, "image")]


def test_broken_rows_are_skipped_and_files_outside_are_not_read(tmp_path: Path):
    (tmp_path / "beside.png").write_bytes(file_of(70))
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "pictures").mkdir()
    (folder / "pictures/one.png").write_bytes(file_of(80))
    image = [
        {"bytes": file_of(10), "path": "x.png"}, {"bytes": b"no picture", "path": None},
        {"bytes": None, "path": None}, None, {"bytes": None, "path": "../beside.png"},
        {"bytes": None, "path": "pictures/one.png"},
    ]  # fmt: skip
    pictures = open_pictures(str(write(folder / "a.parquet", image=image)), FORM)
    assert pictures.take(np.arange(len(pictures)))[:, 0, 0, 0].tolist() == [10, 80]
    assert pictures.report.skipped == {
        "a.parquet/1": "not a picture",
        "a.parquet/2": "no picture in this row",
        "a.parquet/3": "no picture in this row",
        "a.parquet/4": "a name of a file that is not beside the table",
    }


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_file_that_a_row_names_is_seen_when_it_is_replaced(tmp_path: Path, kind: str):
    (tmp_path / "imgs").mkdir()
    for number in range(2):
        (tmp_path / f"imgs/{number}.png").write_bytes(file_of(10 * number))
    image = [{"bytes": None, "path": f"imgs/{number}.png"} for number in range(2)]
    image += [{"bytes": file_of(70), "path": "x.png"}, {"bytes": None, "path": "imgs/\0.png"}]
    path = write(tmp_path / "a.parquet", rows=4, image=image)
    if kind == "arrow":
        path = tmp_path / "a.arrow"
        table = pq.read_table(tmp_path / "a.parquet")
        with path.open("wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    assert greys(path) == [0, 10, 70]
    (tmp_path / "imgs/1.png").write_bytes(file_of(40))
    assert greys(path) == [0, 40, 70]


def test_which_column_holds_the_pictures(tmp_path: Path):
    table = pa.table({"thumb": [b"x"], "photo": [file_of(9)], "class": ["a"], "note": ["n"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert greys(tmp_path / "a.parquet") == [9]
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "b.parquet")
    with pytest.raises(HasamaError, match=r"No column of .*b\.parquet holds pictures.*text \(string\), n \(int64\)"):
        open_source(str(tmp_path / "b.parquet"))


@pytest.mark.parametrize("table", ["00000.parquet", "metadata.parquet", "data/train.parquet"])
def test_a_table_that_only_tells_of_pictures_in_sub_folders_makes_no_table_of_the_folder(tmp_path: Path, table: str):
    """As img2dataset writes: 00000/*.jpg, and beside the folder a table of addresses and captions."""
    for number in range(2):
        path = tmp_path / f"0000{number}" / "a.jpg"
        path.parent.mkdir()
        path.write_bytes(file_of(9, "JPEG"))
    (tmp_path / table).parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"url": ["http://a", "http://b"], "caption": ["a", "b"]}), tmp_path / table)
    report = open_pictures(str(tmp_path), FORM).report
    assert (report.used, list(report.skipped)) == (2, [table])
    write(tmp_path / table)
    assert len(greys(tmp_path)) == 6, "a table of pictures is read, whatever lies below"


def test_a_damaged_table_is_told(tmp_path: Path):
    path = write(tmp_path / "a.parquet")
    for data in (b"", path.read_bytes()[:-9], b"PAR1" * 9):
        path.write_bytes(data)
        with pytest.raises(HasamaError, match=r"The table .*a\.parquet is damaged"):
            open_source(str(path))
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0")
    with pytest.raises(HasamaError, match=r"a\.parquet is a Git LFS pointer.*git lfs pull"):
        open_source(str(path))
    write(path)
    (tmp_path / "one.png").write_bytes(file_of(1))
    assert "name it alone" in open_pictures(str(tmp_path), FORM).report.skipped["a.parquet"]


def test_an_empty_table_holds_no_pictures(tmp_path: Path):
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "a.parquet")
    with pytest.raises(HasamaError, match="holds no"):
        open_source(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("streamed", [True, False])
def test_an_arrow_file(tmp_path: Path, streamed: bool):
    table = pa.table({"image": [file_of(row) for row in range(5)], "label": ["a", "b", "a", "b", "a"]})
    with (tmp_path / "a.arrow").open("wb") as file:
        new = pa.ipc.new_stream if streamed else pa.ipc.new_file
        with new(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    assert greys(tmp_path / "a.arrow") == [0, 1, 2, 3, 4]
    assert open_pictures(str(tmp_path / "a.arrow"), FORM.but(labels=True)).report.classes == {"a": 3, "b": 2}


# --- Hugging Face datasets ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the package `datasets` writes: one/, several/, alone/ and table.parquet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasets = pytest.importorskip("datasets")
        folder = tmp_path_factory.mktemp("saved")
        features = datasets.Features(
            {
                "label": datasets.ClassLabel(names=["cat", "dog"]),
                "image": datasets.Image(),
                "size": datasets.Value("int64"),
            }
        )
        images = [Image.new("RGB", (8, 8), (10 * row, 0, 0)) for row in range(10)]
        rows = {"image": images, "label": [row % 2 for row in range(10)], "size": [8] * 10}
        whole = datasets.Dataset.from_dict(rows, features=features)
        whole.save_to_disk(folder / "one", num_shards=3)
        whole.to_parquet(folder / "table.parquet")
        datasets.DatasetDict({"train": whole, "test": whole.select(range(4))}).save_to_disk(folder / "several")
        datasets.DatasetDict({"a": whole.select([7, 3]), "b": whole}).save_to_disk(folder / "parts")
        datasets.DatasetDict({"all": whole.select([7, 3])}).save_to_disk(folder / "alone")
    return folder


@pytest.mark.parametrize("name", ["one", "several", "table.parquet", "several/train"])
def test_a_hugging_face_dataset(saved: Path, name: str):
    pictures = open_pictures(str(saved / name), FORM.but(labels=True))
    assert pictures.take(np.arange(10))[:, 0, 0, 0].tolist() == list(range(0, 100, 10))
    assert pictures.report.classes == {"cat": 5, "dog": 5}
    assert pictures.labels is not None
    assert pictures.labels.tolist() == [0, 1] * 5
    assert pictures.report.note == ("Only the part 'train' is read, not test." if name == "several" else "")


def test_the_parts_of_a_dataset(saved: Path):
    assert greys(saved / "alone") == [70, 30]
    assert greys(saved / "parts/a") == [70, 30]
    with pytest.raises(HasamaError, match=r"several parts \(a, b\): name one"):
        open_source(str(saved / "parts"))


def test_a_dataset_whose_files_are_missing_is_damaged(saved: Path, tmp_path: Path):
    state = json.loads((saved / "one/state.json").read_text())
    (tmp_path / "dataset_info.json").write_text((saved / "one/dataset_info.json").read_text())
    for named in (state["_data_files"], [], [{"filename": "../x.arrow"}], None):
        (tmp_path / "state.json").write_text(json.dumps(state | {"_data_files": named}))
        with pytest.raises(HasamaError, match="names files that are not there"):
            open_source(str(tmp_path))


def run_without() -> None:
    hide("pyarrow")
    run_hasama()


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path):
    path = write(tmp_path / "a.parquet")
    refused(forked(run_without, "images", path), "needs the package pyarrow", "pip install 'hasama[parquet]'")
