"""The generator as a file: the same pictures afterwards, and a clear refusal of whatever is not one."""

import json
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator, load_generator, save_generator
from hasama.generators.sampling import draw_latents
from hasama.networks.pair import Pair
from hasama.networks.registry import build
from hasama.presets import RECIPES
from hasama.tensor_files import save_tensors
from hasama.training.setup import new_game
from hasama.training.turns import play

TINY = {"size": "8", "width": 2, "latent_size": 4, "batch": 4, "precision": "fp32"}


def generator(
    name: str = "dcgan", channels: int = 3, classes: tuple[str, ...] = (), **changes: Any
) -> TrainedGenerator:
    """A trained generator: after a few steps BatchNorm's statistics are not those of a fresh one."""
    recipe = RECIPES[name].but(**(TINY | changes))
    height, width = recipe.resolution
    game = new_game(build(recipe, channels, len(classes)), recipe)
    if name != "vae" and not classes:
        list(play(game, [torch.rand(4, channels, height, width) for _ in range(6)]))
    return TrainedGenerator(game.sampling_generator, recipe, recipe.latent_size, channels, classes)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "generator.safetensors"
    save_generator(generator(), path)
    return path


def rewrite(path: Path, header: Any = None, tensors: dict[str, torch.Tensor] | None = None, **changes: Any) -> None:
    """The same file with another header (whole, or some of its fields) or other tensors."""
    weights = load_file(path) if tensors is None else tensors
    if header is None:
        header = json.dumps({**header_of(path), **changes})
    save_file(weights, path, {"hasama": header})


def header_of(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["hasama"])


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channels", "classes", "size"),
    [
        ("dcgan", 3, (), "8"),
        ("dcgan", 4, ("cat", "Füchse", "犬"), "16x24"),
        ("dense", 1, (), "7x5"),
        ("dense", 3, ("a", "b"), "8"),
        ("lesson", 4, (), "7x5"),
        ("lesson", 1, ("a", "b"), "8"),
        ("dcgan", 1, (), "28"),
        ("vae", 3, (), "8"),
        ("stable", 1, (), "8"),
    ],
)
def test_a_generator_read_again_paints_the_same_pictures(
    tmp_path: Path, name: str, channels: int, classes: tuple[str, ...], size: str
):
    ours = generator(name, channels, classes, size=size)
    save_generator(ours, tmp_path / "a.safetensors")
    again = load_generator(tmp_path / "a.safetensors")
    latents = draw_latents(0, 5, 4)
    labels = torch.arange(5) % len(classes) if classes else None
    pictures = ours.generate(latents, labels)
    assert pictures.dtype == np.uint8
    assert pictures.std() > 0
    assert np.array_equal(pictures, again.generate(latents, labels))
    assert (again.latent_size, again.channels, again.classes) == (4, channels, classes)
    assert not any(p.requires_grad for p in again.network.parameters())


def test_the_file_says_what_the_network_is_built_from(saved: Path):
    about = header_of(saved)
    assert about.keys() == {
        "version", "architecture", "width", "latent_size", "size", "discriminator_norm", "vision_aid", "enlarge",
        "channels", "classes",
    }  # fmt: skip
    assert (about["architecture"], about["width"], about["size"]) == ("dcgan", 2, "8")


def test_painting_uses_the_statistics_and_leaves_the_mode_alone():
    ours = generator()
    for training in (True, False):
        ours.network.train(training)
        latents = draw_latents(0, 4, 4)
        assert np.array_equal(ours.generate(latents)[:1], ours.generate(latents[:1]))  # the batch does not matter
        assert ours.network.training is training


def test_saving_replaces_a_file_only_when_it_is_whole(saved: Path):
    before = saved.read_bytes()
    broken = TrainedGenerator(nn.Linear(2, 2), None, 2, 3)
    broken.network.state_dict = lambda: {"weight": "no tensor"}  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError):
        save_generator(broken, saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HasamaError, match=r"Cannot write .*file/g\.safetensors"):
        save_generator(generator(), tmp_path / "file" / "g.safetensors")


# --- networks built in Python ---------------------------------------------------------------------


class Tied(nn.Module):
    """Two layers that share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(latents)).view(-1, 3, 1, 1)


@pytest.mark.parametrize("make", [Tied, lambda: nn.Sequential(nn.Linear(3, 12), nn.Unflatten(1, (3, 2, 2)))])
def test_own_networks_are_saved_for_ones_own_code_to_load(tmp_path: Path, make):
    path = tmp_path / "own.safetensors"
    pair = Pair(make(), nn.Linear(1, 1), 3)
    ours = TrainedGenerator(pair.generator, None, pair.latent_size, 3)
    save_generator(ours, path)
    with pytest.raises(HasamaError, match=r"built in Python.*safetensors\.torch\.load_file"):
        load_generator(path)
    twin = make()
    twin.load_state_dict(load_file(path))
    latents = draw_latents(0, 4, 3)
    assert np.array_equal(TrainedGenerator(twin, None, 3, 3).generate(latents), ours.generate(latents))


# --- files that are no generator ------------------------------------------------------------------


class Bomb:
    """What a malicious pickle would do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_a_pickle_in_disguise_is_refused_and_not_run(tmp_path: Path, write):
    path, mark = tmp_path / "generator.safetensors", tmp_path / "executed"
    with path.open("wb") as file:
        write(Bomb(mark), file)
    with pytest.raises(HasamaError, match="not a readable safetensors file"):
        load_generator(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))  # it would have
    assert mark.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved: Path, share: float):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(HasamaError, match="not a readable safetensors file"):
        load_generator(saved)


def test_what_is_not_there_is_not_found(tmp_path: Path):
    with pytest.raises(HasamaError, match="There is no generator at"):
        load_generator(tmp_path / "nothing")
    with pytest.raises(HasamaError, match=r"not a readable safetensors file: give its generator\.safetensors"):
        load_generator(tmp_path)


@pytest.mark.parametrize("about", [{"stage": "fine-tuning", "steps": 10}, {}])
def test_what_else_a_run_holds_is_not_taken_for_ones_own_network(tmp_path: Path, about: dict[str, object]):
    """Its enlarger, or the directions that were found in it."""
    path = tmp_path / "enlarger.safetensors"
    save_tensors(path, {"steps": torch.zeros(2, 4)}, about)
    with pytest.raises(HasamaError, match=r"enlarger or directions, and no generator: give the run's folder or its"):
        load_generator(path)


def test_anothers_safetensors_file_is_refused(saved: Path):
    save_file(load_file(saved), saved)
    with pytest.raises(HasamaError, match="not a generator that Hasama saved"):
        load_generator(saved)


@pytest.mark.parametrize(
    "header", ["", "{", "[]", "5", "null", '"architecture"', "[" * 100_000, "1" * 10_000, "\ud7ff{"]
)
def test_a_header_that_is_no_json_object_is_refused(saved: Path, header: str):
    rewrite(saved, header)
    with pytest.raises(HasamaError, match=r"The header of .* is damaged"):
        load_generator(saved)


DAMAGED = [
    {"width": "wide"}, {"width": 2.0}, {"width": 10**9}, {"width": -1}, {"latent_size": 10**30},
    {"latent_size": True}, {"size": "1000000x1000000"}, {"size": None}, {"architecture": "os.system"},
    {"architecture": ["dcgan"]},
    {"discriminator_norm": "group"}, {"channels": 2}, {"channels": 3.0}, {"channels": True}, {"channels": 10**12},
    {"channels": [3]}, {"classes": "ab"}, {"classes": None}, {"classes": {"a": 1}}, {"classes": [1]}, {"classes": 7},
    {"classes": ["a"] * 100_001},
]  # fmt: skip


@pytest.mark.parametrize("changes", DAMAGED, ids=lambda changes: str(changes)[:40])
def test_a_header_with_impossible_values_is_refused(saved: Path, changes: dict[str, Any]):
    rewrite(saved, **changes)
    with pytest.raises(HasamaError, match=r"The header of .* is damaged"):
        load_generator(saved)


@pytest.mark.parametrize("field", ["width", "size", "channels", "classes", "discriminator_norm"])
def test_a_header_without_a_field_is_refused(saved: Path, field: str):
    header = header_of(saved)
    del header[field]
    rewrite(saved, json.dumps(header))
    with pytest.raises(HasamaError, match=f"is damaged.*{field}"):
        load_generator(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 3},
        {"channels": 1},
        {"size": "16"},
        {"size": "20"},  # which dcgan cannot make at all
        {"latent_size": 5},
        {"classes": ["a", "b"]},
        {"architecture": "dense"},
    ],
)
def test_weights_of_another_network_are_refused(saved: Path, changes: dict[str, Any]):
    rewrite(saved, **changes)
    with pytest.raises(HasamaError, match="do not fit what its header says"):
        load_generator(saved)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int8, torch.complex64, torch.float8_e4m3fn])
def test_weights_of_another_type_are_refused(saved: Path, dtype: torch.dtype):
    rewrite(saved, tensors={name: tensor.to(dtype) for name, tensor in load_file(saved).items()})
    with pytest.raises(HasamaError, match=f"do not fit .*{dtype}"):
        load_generator(saved)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_generator_that_was_moved_to_another_type_is_saved_as_it_is_read(dtype: torch.dtype, saved: Path):
    moved = load_generator(saved)
    moved.network.to(dtype)
    save_generator(moved, saved)
    state = load_generator(saved).network.state_dict()
    assert dtype not in {tensor.dtype for tensor in state.values()}
    for name, tensor in moved.network.state_dict().items():
        assert torch.equal(state[name], tensor.to(state[name].dtype)), name


@pytest.mark.parametrize("architecture", ["dcgan", "dense", "vae"])
def test_a_header_that_claims_a_huge_network_takes_no_memory(saved: Path, architecture: str):
    """The largest dense network would have 820 GB of weights: it is never made."""
    largest = {"width": 1024, "latent_size": 4096, "size": "4096", "classes": ["a"] * 100_000}
    rewrite(saved, architecture=architecture, **largest)
    resident = memory_in_use()
    tracemalloc.start()
    try:
        with pytest.raises(HasamaError, match="do not fit what its header says"):
            load_generator(saved)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert memory_in_use() - resident < 200e6


def memory_in_use() -> int:
    """Bytes, those of torch included."""
    return pytest.importorskip("psutil").Process().memory_info().rss


def test_no_latents_can_be_drawn():
    assert draw_latents(0, 0, 4).shape == (0, 4)
