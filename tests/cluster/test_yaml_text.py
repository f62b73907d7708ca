"""What is written as YAML is what is read."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hasama.cluster.yaml_text import to_yaml
from jobs import NASTY

yaml = pytest.importorskip("yaml")

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(NASTY)
SCALARS = TEXTS | st.integers(-(10**9), 10**9) | st.booleans() | st.none() | st.floats(-1e6, 1e6)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=12
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4).filter(bool))
@example({"small": 1e-09, "large": -1e16})
def test_whatever_is_written_is_read_again(value: dict):
    assert yaml.safe_load(to_yaml(value)) == value


@given(st.lists(TEXTS, min_size=2, max_size=5))
def test_a_text_of_several_lines_is_read_again(lines: list[str]):
    text = "\n".join(lines) + "\n"
    assert yaml.safe_load(to_yaml({"run": text, "rest": [{"setup": text}]})) == {
        "run": text,
        "rest": [{"setup": text}],
    }


def test_what_yaml_takes_for_something_else_is_quoted():
    text = to_yaml(
        {"a": "yes", "b": "1e3", "c": "0x1f", "d": "null", "e": "12:30", "f": "2026-11-28", "plain": "words"}
    )
    assert text == ('a: "yes"\nb: "1e3"\nc: "0x1f"\nd: "null"\ne: "12:30"\nf: "2026-11-28"\nplain: words\n')


def test_a_script_is_a_block_that_people_can_read():
    assert to_yaml({"run": "cd x\nexec y\n"}) == "run: |\n  cd x\n  exec y\n"
