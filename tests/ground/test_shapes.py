"""The hook of conftest.py is really at work: wrong shapes are refused in the tests."""

import dataclasses
import inspect
from collections.abc import Iterator

import jaxtyping
import pytest
import torch

import checker
from hasama.pictures.tensors import to_pixels
from hasama.shapes import Images, Logits, Scalar


def test_wrong_shape_is_refused():
    assert to_pixels(torch.zeros(2, 3, 4, 5)).shape == (2, 4, 5, 3)
    with pytest.raises(Exception, match="images"):
        to_pixels(torch.zeros(3, 4, 5))


@checker.lean
def judged(images: Images, keep: int, nested: bool = False) -> Logits:
    """A logit for each of the first pictures."""
    if nested:  # with sizes of its own
        judged(images[:1], 1)
    return images[:keep].mean((1, 2, 3))


def test_sizes_agree_within_a_call_and_not_between_calls():
    assert judged(torch.zeros(3, 1, 2, 2), 3).shape == (3,)
    assert judged(torch.zeros(5, 3, 4, 2), 5, nested=True).shape == (5,)
    with pytest.raises(jaxtyping.TypeCheckError, match="size of dimension n is 2 which does not equal"):
        judged(torch.zeros(3, 1, 2, 2), 2)
    with pytest.raises(jaxtyping.TypeCheckError, match="keep"):
        judged(torch.zeros(3, 1, 2, 2), "3")  # pyright: ignore[reportArgumentType]
    assert list(inspect.signature(judged).parameters) == ["images", "keep", "nested"]
    assert judged.__name__ == "judged"


@checker.lean
@dataclasses.dataclass(frozen=True)
class Mark:
    """For a picture."""

    score: Scalar
    by: "Mark | None" = None
    weight: float = 1

    @checker.lean
    def added(self, other: "Mark") -> "Mark":
        return dataclasses.replace(self, by=other)


class Special(Mark):
    """Takes what a mark does."""


@pytest.mark.parametrize("kind", [Mark, checker.lean(Special)])
def test_the_fields_of_dataclasses_are_looked_at(kind: type[Mark]):
    mark = kind(torch.tensor(1.0))
    assert mark.added(kind(torch.tensor(2.0))).by is not None
    for wrong in ((torch.zeros(1),), (torch.tensor(1),), (mark.score, 3), (mark.score, None, "1")):
        with pytest.raises(jaxtyping.TypeCheckError):
            kind(*wrong)
    with pytest.raises(jaxtyping.TypeCheckError):
        mark.added(mark.score)  # pyright: ignore[reportArgumentType]


@checker.lean
def levels(images: Images, count: int) -> Iterator[Images]:
    """The same pictures, smaller and smaller."""
    for _ in range(count):
        yield images
        images = images[..., ::2, ::2]


def test_what_yields_is_looked_at_when_it_is_called():
    assert [level.shape[-1] for level in levels(torch.zeros(1, 1, 4, 4), 3)] == [4, 2, 1]
    with pytest.raises(jaxtyping.TypeCheckError, match="images"):
        levels(torch.zeros(4, 4), 3)


def test_names_that_stand_for_nothing_are_no_types(monkeypatch: pytest.MonkeyPatch):
    def read(name: "Nothing", count: int) -> "Nothing":  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
        return name * count

    looked_at = checker.lean(read)
    assert looked_at("a", 2) == "aa"
    with pytest.raises(jaxtyping.TypeCheckError, match="count"):
        looked_at("a", "b")
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match="multiply"):
        looked_at("a", "b")
