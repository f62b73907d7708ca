"""The machine: which device, which arithmetic, which memory layout. The mathematics knows none of it."""

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from torch import nn

from hasama.errors import HasamaError

Arithmetic = Callable[[], AbstractContextManager]
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""The variable without which torch refuses cuBLAS's products where exactness is asked for."""


def _bf16_of_processor(device: torch.device) -> bool:
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def _bf16_of_card(device: torch.device) -> bool:
    return torch.get_device_module(device).is_bf16_supported(including_emulation=False)


class Kind(NamedTuple):
    """What all devices of a kind do alike."""

    there: Callable[[], bool] = lambda: False
    """Whether this machine has one, and this torch uses it."""
    bf16: Callable[[torch.device], bool] = lambda device: False
    """Whether a device multiplies bfloat16 in hardware; elsewhere such products are slower than float32."""
    float64: bool = False
    """Whether it surely has numbers of 64 bits."""
    fused_adam: bool = False
    """Whether torch has Adam's whole step there as one kernel that was tried."""
    graphs: bool = False
    """Whether steps are recorded and repeated: `hasama.training.graphs`."""
    copies_beside: bool = False
    """Whether pictures are copied to it without waiting for what it does."""


DEVICES = {
    "cuda": Kind(
        lambda: torch.cuda.is_available(), _bf16_of_card, float64=True, fused_adam=True, graphs=True,
        copies_beside=True,
    ),
    # copied from beside, pictures would be read from memory that has gone: PyTorch issue 189690
    "mps": Kind(lambda: torch.backends.mps.is_available()),
    "xpu": Kind(lambda: torch.xpu.is_available(), _bf16_of_card),  # many of Intel's have no numbers of 64 bits
    "cpu": Kind(lambda: True, _bf16_of_processor, float64=True, fused_adam=True),
}  # fmt: skip
"""What is known of each kind; `auto` takes the first that is there."""


def kind_of(device: torch.device) -> Kind:
    """What its kind does; of a kind that the table has not, as little as can be."""
    return DEVICES.get(device.type, Kind())


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """'auto' takes a GPU if there is one; otherwise a name that torch knows, such as cpu, cuda:1, mps or xpu.

    Raises:
        HasamaError: torch knows no such device, or this machine has none; or torch's default numbers are not float32.
    """
    check_default_dtype()
    if not isinstance(name, str | torch.device):
        raise HasamaError(f"A device is called by its name, such as cpu or cuda:1; got {type(name).__name__}.")
    whole, name = name if isinstance(name, torch.device) else None, str(name)  # which of several was chosen already
    local = int(os.environ.get("LOCAL_RANK", "0"))  # of several processes on one machine, each takes a card
    if name == "auto":
        name = next(name for name, kind in DEVICES.items() if kind.there())
    if name.startswith("cuda"):  # read once, at the first product, be it exact or not: see `exact_kernels`
        os.environ.setdefault(WORKSPACE, ":4096:8")
    try:
        device = whole or torch.device(f"{name}:{local}" if name in ("cuda", "xpu") and local else name)
        torch.zeros(1, device=device).item()  # `meta` can hold numbers, but has none
    except (RuntimeError, AssertionError, ImportError) as error:
        raise HasamaError(
            f"The device {name!r} cannot be used here: {_why_not(name, error)}. Try --device cpu."
        ) from error
    return device


def check_default_dtype() -> None:
    """Networks, latents and pictures are float32, and are made as torch makes numbers where no kind is named.

    Raises:
        HasamaError: torch makes others.
    """
    if (kind := torch.get_default_dtype()) != torch.float32:
        raise HasamaError(f"torch makes {kind} by default here: call torch.set_default_dtype(torch.float32) before.")


def _why_not(name: str, error: Exception) -> str:
    """In our words where we have some: torch's are for those who build it."""
    first = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
    if any(words in first for words in ("Expected one of", "must not be empty", "Invalid device string")):
        return "torch knows no such device"
    if "meta" in first:
        return "it holds no numbers"
    if any(
        words in first for words in ("not compiled", "not linked", "cannot import", "has no attribute", "No module")
    ):
        return f"this torch was built without {name.partition(':')[0]}"
    return first


def gains_by_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are done in hardware; elsewhere they are slower than float32."""
    return kind_of(device).bf16(device)


def pick_arithmetic(precision: str, device: torch.device) -> Arithmetic:
    """What the networks' forward passes run under: bfloat16 autocast, or nothing.

    Parameters, gradients, losses and the optimizers' memory stay in float32 either way.
    """
    if pick_precision(precision, device) == torch.bfloat16:
        return partial(torch.autocast, device.type, torch.bfloat16)
    return nullcontext


def pick_precision(precision: str, device: torch.device) -> torch.dtype:
    """What products are computed in: bfloat16 or float32, by a recipe's word (auto, fp32, bf16) or by the device."""
    bf16 = precision == "bf16" or (precision == "auto" and gains_by_bf16(device))
    return torch.bfloat16 if bf16 else torch.float32


@contextmanager
def exact_kernels(device: torch.device, wanted: bool = True) -> Iterator[None]:
    """On an NVIDIA card only operations that come to the same bits each time, which many of its fastest do not.

    Those add numbers in the order in which its cores happen to be done. Elsewhere nothing has to change.

    Args:
        device: what computes inside.
        wanted: False does nothing.

    Raises:
        HasamaError: an operation has no such form there.
    """
    if not wanted or device.type != "cuda":
        yield
        return
    os.environ.setdefault(WORKSPACE, ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # nothing is read that was not written
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        first = str(error).partition(". ")[0]
        raise HasamaError(f"--exact: {first}. Train without --exact, or on a processor.") from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filled


@contextmanager
def whole_products() -> Iterator[None]:
    """On an NVIDIA card products of float32 in float32: cuDNN's convolutions would round their factors to TF32.

    For figures that are compared with those of another machine.
    """
    backends: Any = torch.backends
    settings = [backends.cudnn.conv, backends.cuda.matmul]
    before = [one.fp32_precision for one in settings]
    for one in settings:
        one.fp32_precision = "ieee"
    try:
        yield
    finally:
        for one, precision in zip(settings, before, strict=True):
            one.fp32_precision = precision


@contextmanager
def fast_products() -> Iterator[None]:
    """float32 matrix products whose factors may be rounded to bfloat16; the sums stay in float32.

    Nothing is lost where the factors come from bfloat16. On the CPU they then run in oneDNN, twice as fast as MKL on
    AMD's chips.
    """
    settings = getattr(torch.backends.mkldnn, "matmul", None)
    if settings is None:  # torch before 2.9 has no such choice
        yield
        return
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before


def random_state(device: torch.device) -> torch.Tensor:
    """Where the device's random numbers stand."""
    return torch.get_rng_state() if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)


def set_random_state(device: torch.device, state: torch.Tensor) -> None:
    """Go on with the device's random numbers from there."""
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, device)


def lay_out(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to the device, convolution weights in the channels-last layout that it is fastest with.

    Parameter by parameter, for `Module.to` refuses a network that has 5-D ones.
    """
    network.to(device)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def peak_bytes() -> int:
    """The most that this process has taken so far (peak RSS); 0 where nobody tells (Windows).

    Of `getrusage` the number begins with what the process had that started this one, which Linux tells better.
    """
    try:
        told = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        told = None
    if told:
        return int(told[1]) * 1024
    try:
        import resource  # Windows has none
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> None:
    """From now on `peak_bytes` tells the most since now, where the system can do so (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc_pid_clear_refs(5)


MEMORY_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Of control groups, version 2 and version 1: the files of the limit and of what is taken, and what `memory.stat`
calls that part of it which Linux would take back from its caches."""


def free_memory(
    listing: Path = Path("/proc/meminfo"),
    groups: Path = Path("/sys/fs/cgroup"),
    own: Path = Path("/proc/self/cgroup"),
) -> int | None:
    """Bytes of memory that programs can still have: of the machine's, and of what their container or job may take.

    Args:
        listing: where Linux tells of the machine.
        groups: the control groups.
        own: in which of them this process is.

    Returns:
        The least of these; None where nobody tells.
    """
    found = [free for free in (_free_of_machine(listing), *_free_of_groups(groups, own)) if free is not None]
    return max(0, min(found)) if found else None


def _free_of_machine(listing: Path) -> int | None:
    with suppress(OSError, ValueError):
        # Linux: with what it could take back from its caches
        if told := re.search(r"^MemAvailable:\s+(\d+) kB", listing.read_text(encoding="ascii"), re.MULTILINE):
            return 1024 * int(told[1])
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _free_of_groups(groups: Path, own: Path) -> Iterator[int]:
    """What each group that this process is in, and each that this one is in, can still give, if it has a limit."""
    lines = []
    with suppress(OSError, ValueError):
        lines = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
    for controllers, place in (line[1:] for line in lines if len(line) == 3):
        kind = next((kind for kind in MEMORY_FILES if kind in controllers.split(",")), None)
        if kind is None:
            continue
        limit, taken, back = MEMORY_FILES[kind]
        inside = PurePosixPath(place.lstrip("/"))  # in a container perhaps the machine's name for it, not to be seen
        for group in (groups / kind / one for one in (inside, *inside.parents)):
            with suppress(OSError, ValueError):  # no such group, or no limit: max
                free = int((group / limit).read_text()) - int((group / taken).read_text())
                stat = (group / "memory.stat").read_text()
                cached = re.search(rf"^{back} (\d+)$", stat, re.MULTILINE)
                yield free + (int(cached[1]) if cached else 0)


def keep_memory(kept: bool = True) -> None:
    """Tell glibc to keep the large blocks that every training step frees and wants again (Linux; else nothing).

    By default it returns them to the system at first, which costs about a tenth of a step in page faults, and keeps
    ever larger ones. With `kept` false it returns all from one mebibyte on: what a budget of memory counts on.
    """
    if not sys.platform.startswith("linux"):
        return
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 2**30 if kept else 2**20)
        libc.mallopt(trim_threshold, 2**31 - 1 if kept else 2**20)
    except (OSError, AttributeError):
        pass  # another C library: nothing to tune
