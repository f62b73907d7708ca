"""What every test gets: its own cache, few threads, and shapes checked at run time."""

import functools
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import checker
from command import make_pictures

gc.disable()  # until all tests are read: what is read stays
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores
os.environ.pop("HASAMA_MIRROR", None)
if not os.environ.get("HASAMA_TEST_ON_CARD"):  # most tests are about bits, which a card has only with --exact
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

settings.register_profile("unhurried", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("unhurried")

checker.install()  # rule 5 of the design: shapes are types, checked here


def pytest_collection_finish() -> None:
    """Whatever has been read is no garbage, and need not be looked through again and again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small pictures in two classes. Tests that change pictures make their own."""
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees, or leaves, anything in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("HASAMA_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """No test inherits the threads that another one's `--threads` set in this process: they decide the last bits."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def onnx_operators_once() -> Iterator[None]:
    """Torch reads the source of its 500 ONNX functions anew for each export: more than half of what one costs."""
    from torch.onnx._internal.exporter import _registration

    table: Any = _registration.ONNXRegistry
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "from_torchlib", staticmethod(functools.cache(table.from_torchlib)))
        yield


@pytest.fixture
def exactly() -> Iterator[None]:
    """As where exactness is asked for on a card (--exact)."""
    import torch

    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
