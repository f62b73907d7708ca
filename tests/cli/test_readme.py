"""The README's Python runs as it stands, and what it says of the package is so."""

import re
import runpy
from pathlib import Path

import pytest

import hasama
from hasama.presets import PRESETS
from hasama.style.recipe import STYLE_PRESETS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_blocks_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "block.py"
    script.write_text(BLOCKS[number], encoding="utf-8")
    runpy.run_path(str(script))
    if "save_picture" in BLOCKS[number]:
        assert (tmp_path / "runs/eight-lines/digits.png").exists()


def test_there_are_blocks():
    assert len(BLOCKS) >= 2


def test_every_recipe_is_told():
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \| ", README, flags=re.MULTILINE)) >= set(PRESETS) | set(STYLE_PRESETS)


def test_the_loop_shown_is_the_loop():
    shown = re.search(r"```text\n(def both_turns.*?)```", README, flags=re.DOTALL)
    assert shown
    source = (ROOT / "src/hasama/training/turns.py").read_text(encoding="utf-8")
    assert shown[1] in source


def test_public_names_exist_and_say_what_they_are():
    for name in hasama.__all__:
        assert getattr(hasama, name).__doc__, name
