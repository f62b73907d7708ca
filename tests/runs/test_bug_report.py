"""What is taken out of a bug report, what is left in, and what a machine is."""

import json
import os
from pathlib import Path

import pytest

from hasama.errors import HasamaError
from hasama.runs.reports import machine
from hasama.runs.reports.bug_report import as_text, bug_report
from hasama.runs.reports.last_error import LONGEST_MESSAGE, crash_file, error_file, read_error, recorded, save_error
from hasama.runs.reports.private import Private, forms_of, names_of


@pytest.fixture(autouse=True)
def somebody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests, these are the names."""
    (tmp_path / "home/amina").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home/amina"))
    monkeypatch.setenv("USER", "amina")
    monkeypatch.setattr("socket.gethostname", lambda: "nairobi7.example")
    monkeypatch.setattr("platform.node", lambda: "nairobi7.example")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Cannot read /data/pictures/1.png: gone", "Cannot read PATH: gone"),
        ("Cannot read '/data/my pictures/1.png': gone", "Cannot read 'PATH': gone"),
        ('in "holiday/1.png"', 'in "PATH"'),
        ("C:\\Users\\Bob\\x.png, and \\\\server\\share", "PATH, and PATH"),
        ("holiday.jpg is broken", "FILE.jpg is broken"),
        ("see photos/holiday and ../elsewhere", "see PATH and PATH"),
        ("from https://mirror.example/x?token=1", "from ADDRESS"),
        ("Amina on NAIROBI7", "USER on HOST"),
        ("amina_2 and aminas", "USER_2 and aminas"),
        ("runs/mine/game.pt is damaged", "PATH/game.pt is damaged"),
        ("recipe.json, log.jsonl, 000120000.png", "recipe.json, log.jsonl, 000120000.png"),
        ("512.5 images/s, 3/4 of 1.25, sized 64x96", "512.5 images/s, 3/4 of 1.25, sized 64x96"),
        ("torch.load and hasama.train", "torch.load and hasama.train"),
        ("got [8, 3, 64, 64], 1e-05; try --device cpu.", "got [8, 3, 64, 64], 1e-05; try --device cpu."),
    ],
)  # fmt: skip
def test_what_is_taken_out_of_a_text(text: str, left: str):
    assert Private().clean(text) == left


def test_a_known_path_is_found_with_its_spaces(tmp_path: Path):
    place = tmp_path / "home/amina/My Own (secret)"
    private = Private(forms_of(place, "SOURCE") | names_of(["sub/one two.png"], "PICTURE"))
    assert private.clean(f"{place} has one two.png") == "SOURCE has PICTURE"
    assert private.clean("in My Own (secret) too") == "in SOURCE too"
    assert Private().clean(f"{tmp_path}/home/amina/x") == "PATH"


def test_an_error_of_a_run_is_kept_until_a_session_goes_well(tmp_path: Path):
    (tmp_path / "recipe.json").touch()
    with pytest.raises(ZeroDivisionError), recorded(tmp_path):
        raise ZeroDivisionError("once")
    kept = read_error(error_file(tmp_path))
    assert kept is not None
    assert (kept["kind"], kept["message"]) == ("ZeroDivisionError", "once")
    with recorded(tmp_path):
        pass
    assert not error_file(tmp_path).exists()


def test_no_error_is_put_where_there_is_no_run(tmp_path: Path):
    with pytest.raises(HasamaError), recorded(tmp_path):
        raise HasamaError("holds other files")
    assert not error_file(tmp_path).exists()


def test_breaking_off_is_no_error(tmp_path: Path):
    (tmp_path / "recipe.json").touch()
    with pytest.raises(KeyboardInterrupt), recorded(tmp_path):
        raise KeyboardInterrupt
    assert not error_file(tmp_path).exists()


def test_an_error_that_cannot_be_kept_is_no_second_one(tmp_path: Path):
    save_error(tmp_path / "file", ValueError("x" * 10 * LONGEST_MESSAGE))
    assert len((read_error(tmp_path / "file") or {})["message"]) == LONGEST_MESSAGE
    save_error(tmp_path / "file/under", ValueError("a file stands in the way"))
    assert read_error(tmp_path / "file/under") is None


def test_frames_say_nothing_of_where_things_lie(tmp_path: Path):
    own = tmp_path / "divorce.py"
    own.write_text("def broken():\n    import json\n    json.loads('{')\n", encoding="utf-8")
    names: dict = {}
    exec(compile(own.read_text(encoding="utf-8"), str(own), "exec"), names)
    try:
        names["broken"]()
    except ValueError as error:
        save_error(crash_file(), error, ["train", str(own)])
    frames = (read_error(crash_file()) or {})["frames"]
    assert frames[1] == "(a file of yours):3 broken"
    assert frames[-1].startswith("python/json/decoder.py:")
    told = as_text(bug_report())
    assert "divorce" not in told
    assert "hasama train WORD" in told


def test_a_run_s_own_name_is_known_with_its_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run = Path("divorce of amina")
    run.mkdir()
    (run / "recipe.json").touch()
    for place in (run, run.absolute()):
        save_error(error_file(run), HasamaError(f"Cannot write {place}/log.jsonl: it is a folder."))
        told = bug_report(run)["run"]["last error"]
        assert told["message"] == "Cannot write PATH/log.jsonl: it is a folder."
        assert "divorce" not in as_text(bug_report(run.absolute()))


def test_variables_with_places_or_secrets_are_only_named(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in os.environ if name.startswith((machine.OURS, *machine.VARIABLES))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HASAMA_STUDIO_PASSWORD", "sesame")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("TORCH_HOME", "/home/amina/torch")
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    told = {"HASAMA_STUDIO_PASSWORD": "(set)", "OMP_NUM_THREADS": "3", "TORCH_HOME": "(set)"}
    assert machine.variables() == told


def test_the_packages_are_those_that_hasama_needs():
    needed = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    named = needed.partition("\ndependencies = [")[2].partition("\n]")[0]
    assert [line.split('"')[1].partition(">")[0] for line in named.strip().splitlines()] == list(machine.PACKAGES)


def test_a_card_is_told(monkeypatch: pytest.MonkeyPatch):
    torch = pytest.importorskip("torch")
    card = type("Card", (), {"name": "Some Card", "total_memory": 2**33, "major": 9, "minor": 0})()
    monkeypatch.setattr(machine, "pick_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert machine.device()["device"] == "cuda (Some Card, 8.0 GiB, 9.0)"


def test_names_of_the_user_are_taken_out_of_everything(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_PLACES", "amina")
    monkeypatch.setattr(machine, "_cpu_info", lambda: {"model name": "Amina's chip", "flags": "avx2 sse"})
    told = bug_report()
    assert told["variables"]["OMP_PLACES"] == "USER"
    assert told["machine"]["processor"] == "USER's chip"
    assert told["machine"]["features"] == "avx2"
    assert json.loads(json.dumps(told)) == told
