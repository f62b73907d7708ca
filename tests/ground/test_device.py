"""Device, arithmetic and memory layout."""

import os
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from command import forked, run_code
from hasama import device as device_module
from hasama.cli.commands import completion
from hasama.device import (
    DEVICES,
    exact_kernels,
    free_memory,
    gains_by_bf16,
    keep_memory,
    kind_of,
    lay_out,
    pick_arithmetic,
    pick_device,
    random_state,
    set_random_state,
)
from hasama.errors import HasamaError
from hasama.networks.registry import build
from hasama.pictures.dataset import Batch
from hasama.presets import RECIPES
from hasama.training.setup import loop_for, new_game

CPU = torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    assert pick_device() == CPU
    assert pick_device("cpu") == CPU
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    with pytest.raises(HasamaError, match="'xpu' cannot be used here"):  # chosen; this torch was built without
        pick_device()


@pytest.mark.parametrize("name", ["banana", "", "cuda:-1", "cuda:4000", "hpu", "mtia", "meta", "vulkan"])
def test_a_device_that_cannot_compute_here_is_refused_in_a_short_sentence(name: str):
    with pytest.raises(HasamaError) as caught:
        pick_device(name)
    message = str(caught.value)
    assert repr(name) in message
    assert message.endswith("Try --device cpu.")
    assert len(message) < 400
    assert "\n" not in message


def test_precision_decides_the_arithmetic():
    product = torch.ones(2, 2)
    with pick_arithmetic("bf16", CPU)():
        assert (product @ product).dtype == torch.bfloat16
    with pick_arithmetic("fp32", CPU)():
        assert (product @ product).dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")  # left behind by none


def test_exact_kernels_are_a_matter_of_a_card(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    memory: Any = torch.utils.deterministic
    card = torch.device("cuda")
    for device, wanted in ((CPU, True), (card, False)):
        with exact_kernels(device, wanted):
            assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with exact_kernels(card):
        assert torch.are_deterministic_algorithms_enabled()
        assert not memory.fill_uninitialized_memory
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    with pytest.raises(ZeroDivisionError), exact_kernels(card):
        _ = 1 / 0
    told = "histc_cuda does not have a deterministic implementation, but you set 'torch.use_...'. You can turn it off"
    refused = pytest.raises(HasamaError, match=r"--exact: histc_cuda does not have .* Train without --exact")
    with refused, exact_kernels(card):
        raise RuntimeError(told)
    with pytest.raises(RuntimeError, match="out of memory"), exact_kernels(card):
        raise RuntimeError("CUDA out of memory")
    assert not torch.are_deterministic_algorithms_enabled()
    assert memory.fill_uninitialized_memory


@pytest.mark.parametrize("hardware", [True, False])
def test_auto_asks_the_hardware(monkeypatch: pytest.MonkeyPatch, hardware: bool):
    monkeypatch.setattr(device_module, "gains_by_bf16", lambda device: hardware)
    assert (pick_arithmetic("auto", CPU) is nullcontext) is not hardware
    assert pick_arithmetic("fp32", CPU) is nullcontext


def test_only_processors_with_bf16_products_gain(monkeypatch: pytest.MonkeyPatch):
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda: False, raising=False)
    assert gains_by_bf16(CPU) is False
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert gains_by_bf16(CPU) is True
    assert gains_by_bf16(torch.device("mps")) is False
    monkeypatch.setattr(torch.xpu, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert gains_by_bf16(torch.device("xpu")) is True


@pytest.mark.parametrize("name", DEVICES)
def test_the_guide_says_of_each_kind_what_the_table_has(name: str):
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "training.md").read_text()
    rows = re.findall(rf"^\| `{name}`.*$", guide, re.MULTILINE)
    assert len(rows) == 1
    _, _, arithmetic, graphs, _, wide, _, _ = rows[0].split("|")
    kind = DEVICES[name]
    assert graphs.strip().startswith("yes") is kind.graphs
    assert wide.strip().startswith("yes") is kind.float64
    sometimes = kind.bf16 is not kind_of(torch.device("meta")).bf16
    assert ("bfloat16" in arithmetic) is sometimes


def test_what_the_guide_says_of_tf32_is_what_torch_does():
    """Convolutions of float32 may be rounded on a card; products of matrices may not."""
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "training.md").read_text()
    backends: Any = torch.backends
    assert "convolutions round their factors\nto TF32" in guide
    assert backends.cudnn.conv.fp32_precision == "tf32"
    assert backends.cuda.matmul.fp32_precision in ("none", "ieee")


def test_every_kind_of_device_is_completed():
    assert ("auto", *sorted(DEVICES)) == completion.DEVICES


def test_of_an_unknown_kind_nothing_is_expected():
    assert not any(fact for fact in kind_of(torch.device("meta")) if not callable(fact))
    assert not kind_of(torch.device("meta")).bf16(torch.device("meta"))


def test_each_device_has_random_numbers_of_its_own(monkeypatch: pytest.MonkeyPatch):
    state = random_state(CPU)
    first = torch.rand(3)
    set_random_state(CPU, state)
    assert torch.equal(torch.rand(3), first)
    held = {torch.device("mps"): torch.ones(1), torch.device("xpu:1"): torch.zeros(1)}

    class Module:
        get_rng_state = staticmethod(held.__getitem__)
        set_rng_state = staticmethod(lambda new, device: held.__setitem__(device, new))

    monkeypatch.setattr(torch, "get_device_module", lambda device: Module)
    set_random_state(torch.device("mps"), 2 * random_state(torch.device("mps")))
    assert [random_state(device).item() for device in held] == [2, 0]


class Doubles(TorchDispatchMode):
    """Notes what makes numbers of 64 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.made: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves(found) if isinstance(x, torch.Tensor)]
        self.made |= {func.name() for x in tensors if x.dtype == torch.float64}
        return found


@pytest.mark.parametrize("preset", RECIPES)
def test_no_step_needs_float64_which_mps_and_many_xpus_lack(preset: str):
    recipe = RECIPES[preset].but(size="16", width=4, batch=4, precision="fp32")
    steps = loop_for(recipe.architecture)(new_game(build(recipe, 3), recipe), [Batch(torch.zeros(4, 3, 16, 16))])
    with Doubles() as noted:
        for step in steps:
            assert step.figures()
    assert noted.made == set()


def test_layout_changes_strides_of_convolutions_and_no_number():
    torch.manual_seed(0)
    network = nn.ModuleList([nn.Conv2d(3, 5, 4), nn.Linear(4, 2), nn.Conv3d(2, 2, 3)])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    same = [id(parameter) for parameter in network.parameters()]
    assert lay_out(network, CPU) is network
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert [id(parameter) for parameter in network.parameters()] == same  # an optimizer made before still holds them
    assert network.get_parameter("0.weight").is_contiguous(memory_format=torch.channels_last)
    assert not network.get_parameter("0.weight").is_contiguous()


@pytest.mark.parametrize(("kept", "threshold"), [(True, 2**30), (False, 2**20)])
def test_blocks_are_kept_or_returned(monkeypatch: pytest.MonkeyPatch, kept: bool, threshold: int):
    asked: dict[int, int] = {}
    libc = SimpleNamespace(mallopt=asked.__setitem__)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(device_module.ctypes, "CDLL", lambda name: libc)
    keep_memory(kept)
    assert asked[-3] == threshold
    assert (asked[-1] > 2**30) == kept


def test_tuning_the_allocator_is_never_fatal(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(device_module.ctypes, "CDLL", missing)
    keep_memory()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(device_module.ctypes, "CDLL", lambda name: pytest.fail("asked for glibc on Windows"))
    keep_memory()


GB = 10**9


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Of 8 GB that are free; it has no control groups."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:   {8 * GB // 1000} kB\n")
    (tmp_path / "groups").mkdir()
    return tmp_path


def free_on(machine: Path) -> int | None:
    return free_memory(machine / "meminfo", machine / "groups", machine / "own")


def a_group(folder: Path, version: int, limit: str, taken: int, cached: int = 0) -> None:
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{taken}\n")
    key = "inactive_file" if version == 2 else "total_inactive_file"
    (folder / "memory.stat").write_text(f"anon 5\nactive_file 7\n{key} {cached}\n")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("place", ["/", "/jobs/17", "/as/the/machine/calls/it"])
def test_a_container_or_a_job_has_no_more_memory_than_its_limit(machine: Path, version: int, place: str):
    """Its group's, or that of one around it; what is seen in a container may be the root alone."""
    whole = 8 * GB // 1000 * 1024
    assert free_on(machine) == whole
    (machine / "own").write_text(f"3:cpu,cpuacct:/\n4:memory:{place}\n" if version == 1 else f"0::{place}\n")
    assert free_on(machine) == whole
    root = machine / "groups" / ("memory" if version == 1 else "")
    without = "9223372036854771712" if version == 1 else "max"
    a_group(root, version, without, 90 * GB)
    assert free_on(machine) == whole
    a_group(root, version, str(4 * GB), 3 * GB, cached=GB // 2)
    assert free_on(machine) == 1.5 * GB
    if place == "/jobs/17":
        a_group(root / "jobs" / "17", version, without, GB)
        assert free_on(machine) == 1.5 * GB
        a_group(root / "jobs" / "17", version, str(GB), GB - 1000)
        assert free_on(machine) == 1000
    a_group(root, version, str(4 * GB), 5 * GB)
    assert free_on(machine) == 0


def test_where_no_memory_is_told_of_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unknown(name: str) -> int:
        raise ValueError(f"unrecognized configuration name {name}")

    monkeypatch.setattr(device_module.os, "sysconf", unknown, raising=False)
    assert free_on(tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process forget its peak")
def test_the_peak_of_memory_can_be_forgotten():
    code = """
import numpy as np
from hasama.device import forget_peak, peak_bytes
forget_peak()  # a forked process begins with its parent's
before = peak_bytes()
np.ones(2**26).sum()  # half a GiB
most = peak_bytes()
forget_peak()
print((most - before) / 2**29, (peak_bytes() - before) / 2**29)
"""
    most, left = map(float, forked(run_code, code).stdout.split())
    assert 0.9 < most < 1.2
    assert left < 0.2
