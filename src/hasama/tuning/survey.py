"""What a person's pictures and machine are like: what `hasama suggest` looks at before it chooses."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hasama.device import free_memory, gains_by_bf16
from hasama.metrics.distances import TWINS_ARE_0_APART
from hasama.pictures.dataset import Pictures
from hasama.pictures.opening import upright_size
from hasama.pictures.report import Report
from hasama.pictures.sources.entries import Entry, Source
from hasama.runs.pace import Pace

HEADERS_MOST, LOOKS_MOST = 1000, 1500
ALL_ALIKE = 3.0  # of 255
TWICE, MEMORY_SHARE = 0.05, 0.8
THUMB = 8  # pixels of a thumbnail's side
ALIKE = 1.15  # two shapes are alike if one is at most so much longer than the other
NEAR, FLAT = 3.0, 2.0  # of 255: pictures nearer than this are near-identical; one that varies less has one colour

Thumbs = Float[Tensor, "n c 8 8"]


class Headers(NamedTuple):
    """Facts from the headers of a sample of the files.

    Attributes:
        files: in the source, of kinds that can be pictures.
        width, height: the medians.
        aspect: the median of width / height.
        alike: the share of pictures whose shape is about the median's.
        same: whether all have the same width and height.
        labels: of them by class; those in no class are counted under ''.
        crops: whether the source is one picture, of which crops are cut.
    """

    files: int
    width: int
    height: int
    aspect: float
    alike: float
    same: bool
    labels: dict[str, int]
    crops: bool = False


class Looks(NamedTuple):
    """What a sample of the decoded pictures looks like.

    Attributes:
        flat: the share that has a single colour.
        near: the share that is nearly, but not quite, the same as another.
        spread: the mean standard deviation, over the pictures, of a thumbnail's values; of 255.
        mirrored: how much farther a mirrored picture is from the nearest other one than it is itself: 1 if mirroring
            makes pictures that could as well be among these, more if they have a left and a right, as writing has.
        grey: whether no picture has colour.
        opaque: whether no picture is transparent anywhere.
        clear: the share that is transparent everywhere.
    """

    flat: float
    near: float
    spread: float
    mirrored: float
    grey: bool
    opaque: bool
    clear: float = 0.0


class Machine(NamedTuple):
    """The machine; memory in bytes, None if the system does not say. `load`: how many processes want a core."""

    device: str
    name: str
    threads: int
    bf16: bool
    free_memory: int | None
    cores: int
    load: float

    @property
    def on_card(self) -> bool:
        """Whether it is an NVIDIA or AMD graphics card."""
        return self.device.startswith("cuda")


def read_headers(source: Source) -> Headers | None:
    """Sizes and classes of a source's files; None if none of those tried is a picture."""
    some = source.entries[:: max(1, len(source.entries) // HEADERS_MOST)]
    if source.shards is not None and source.shards.remote:
        some = source.entries[:HEADERS_MOST]  # of few shards, for each would have to be fetched
    with ThreadPoolExecutor(4) as pool:
        found = [(entry, size) for entry, size in zip(some, pool.map(_size, some), strict=True) if size]
    source.finish()
    if not found:
        return None
    sizes = np.array([size for _, size in found], dtype=float)
    kinds = {_kind(entry) for entry, _ in found}  # of files that are pictures: texts beside them are no class
    aspects = sizes[:, 0] / sizes[:, 1]
    aspect = float(np.median(aspects))
    alike = np.abs(np.log(aspects / aspect)) <= np.log(ALIKE)
    width, height = np.median(sizes, 0)
    labels = Counter(entry.label or "" for entry in source.entries if _kind(entry) in kinds)
    return Headers(
        labels.total(), int(width), int(height), aspect, float(alike.mean()),
        bool((sizes == sizes[0]).all()), dict(sorted(labels.items())), source.crops,
    )  # fmt: skip


def _kind(entry: Entry) -> str:
    """By the name's ending."""
    return PurePath(entry.name).suffix.lower()


def _size(entry: Entry) -> tuple[int, int] | None:
    """(width, height) of a picture after its orientation is applied; None for what is no picture."""
    try:
        return upright_size(entry.peek())
    except Exception:  # as for all broken files; the scan reports them
        return None


def look_at(pictures: Pictures) -> Looks:
    """Look at a random sample of the pictures."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(0)))
    chosen = np.sort(rng.permutation(pictures.at_hand)[:LOOKS_MOST])
    thumbs, flat, clear, grey, opaque = [], 0, 0, True, True
    for some in np.array_split(chosen, -(-len(chosen) // 64)):
        pixels = torch.from_numpy(pictures.take(some)).permute(0, 3, 1, 2).float()
        flat += _flat(pixels)
        grey &= pixels.shape[1] == 1 or bool((pixels[:, :1] - pixels[:, 1:3]).abs().max() <= 1)
        if pixels.shape[1] == 4:
            opaque &= bool((pixels[:, 3] == 255).all())
            clear += int((pixels[:, 3] == 0).flatten(1).all(1).sum())
        thumbs.append(F.adaptive_avg_pool2d(pixels, THUMB))
    near, mirrored = _compare(torch.cat(thumbs))
    spread = float(torch.cat(thumbs).std(0, correction=0).mean())
    return Looks(flat / len(chosen), near, spread, mirrored, grey, opaque, clear / len(chosen))


def _flat(pixels: Tensor) -> int:
    """How many vary in no channel."""
    return int((pixels.flatten(2).std(2, correction=0).amax(1) < FLAT).sum())


def _compare(thumbs: Thumbs) -> tuple[float, float]:
    """(the share of near-identical pictures, how much farther the mirrored ones are from others); see `Looks`."""
    if len(thumbs) < 3:
        return 0.0, float("inf")
    scale = thumbs[0].numel() ** 0.5

    def distances(seen: Tensor) -> Tensor:
        between = torch.cdist(seen.flatten(1), thumbs.flatten(1), compute_mode=TWINS_ARE_0_APART) / scale
        return between.fill_diagonal_(float("inf"))  # neither itself nor its own mirror image

    own, turned = distances(thumbs), distances(thumbs.flip(3))
    near = ((own > 0.01) & (own < NEAR)).any(1).float().mean()
    copies = own < NEAR  # a burst is as little another picture as a file is that is there twice
    own, turned = own.masked_fill(copies, float("inf")).amin(1), turned.masked_fill(copies, float("inf")).amin(1)
    several = own.isfinite() & turned.isfinite()
    if not several.any():
        return float(near), float("inf")
    return float(near), float(turned[several].mean() / own[several].mean().clamp_min(1e-3))


# --- the machine ----------------------------------------------------------------------------------


def survey_machine(device: torch.device) -> Machine:
    """What this machine has to compute with."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
    else:
        free, name = free_memory(), "the processor" if device.type == "cpu" else device.type
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return Machine(
        str(device), name, torch.get_num_threads(), gains_by_bf16(device), free, os.cpu_count() or 1, round(load, 1)
    )  # fmt: skip


def warnings_about(report: Report, looks: Looks, count: int) -> list[str]:
    """Problems with the pictures."""
    found = report.warnings()
    if looks.flat > 0.9:
        found.append("The pictures have one colour each: there is nothing to learn but that.")
    elif looks.spread < ALL_ALIKE and count > 1:
        found.append("The pictures are all nearly the same one: what is learnt will be that one.")
    elif looks.near > 0.1 and not report.crops:
        found.append(f"{looks.near:.0%} of the pictures are nearly the same as another: they count as fewer.")
    if looks.clear > 0.02:
        found.append(
            f"{looks.clear:.0%} of the pictures are transparent everywhere: there is nothing to see in them."
        )
    if 0.02 < looks.flat <= 0.9:
        found.append(f"{looks.flat:.0%} of the pictures have a single colour: perhaps they are no good.")
    if not report.crops and count < (1 - TWICE) * report.used:
        found.append(
            f"{report.used - count} of the {report.used} pictures are copies: "
            + ("one is left." if count == 1 else f"{count} different ones are left.")
        )
    if report.skipped:
        found.append(f"Files that cannot be used: {len(report.skipped)}. hasama images names them.")
    return found


def nearly_full(pace: Pace, machine: Machine) -> bool:
    """Whether a training needs nearly all of the memory that is free."""
    return bool(pace.memory and machine.free_memory and pace.memory > MEMORY_SHARE * machine.free_memory)


def warnings_about_machine(pace: Pace, machine: Machine) -> list[str]:
    """Whether the memory nearly runs out, and whether others slowed what was measured."""
    found = []
    if nearly_full(pace, machine):
        found.append(
            f"It needs nearly all the memory that {machine.name} has free: --batch or --size can be smaller."
        )
    if machine.device == "cpu" and machine.load > machine.cores:
        found.append(
            f"The processor is busy with other things (load {machine.load:.1f} on {machine.cores} cores), which "
            "slowed the timed steps: alone the training would be faster."
        )
    return found
