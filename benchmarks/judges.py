"""How well each network for features tells real pictures from real pictures that were spoilt a little.

    python benchmarks/judges.py SOURCE [--size 64] [--network efficientnet --smallest 64 128]

SOURCE has classes. One half of the pictures is compared by KID with the other half as it is, and spoilt: quarters
shuffled, blurred, with noise, without the most frequent class. Printed: by how many standard deviations of a subset's
figure the two KIDs lie apart; more is better. Then: the precision of pictures of one colour each, which should be 0;
the kernel's x.y/F; and how many pictures go through in a second of processor time.
"""

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

import hasama
from hasama.metrics.distances import kid
from hasama.metrics.neighbours import precision
from hasama.perception import extractors
from hasama.perception.extractors import extract_features, extractor_named

SMALLEST = {"vgg19": "SMALLEST", "efficientnet": "SMALLEST_EFFICIENTNET"}
Spoil = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def quarters(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture's quarters in a random order."""
    h, w = (side // 2 for side in pixels.shape[1:3])
    spoilt = pixels.copy()
    places = [(top, left) for top in (0, h) for left in (0, w)]
    for source, picture in zip(pixels, spoilt, strict=True):
        for (top, left), order in zip(places, rng.permutation(4), strict=True):
            there, beside = places[order]
            picture[top : top + h, left : left + w] = source[there : there + h, beside : beside + w]
    return spoilt


def blur(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A little out of focus: weights 1 2 1 along both sides."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
    channels = x.shape[1]
    weight = (kernel[:, None] * kernel).expand(channels, 1, 3, 3)
    x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight, groups=channels)
    return x.round().byte().permute(0, 2, 3, 1).numpy()


def noise(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grain with a deviation of 8 in 255."""
    return (pixels + rng.normal(0, 8, pixels.shape)).round().clip(0, 255).astype(np.uint8)


SPOILT: dict[str, Spoil] = {"quarters": quarters, "blur": blur, "noise": noise}


def apart(real: torch.Tensor, right: torch.Tensor, wrong: torch.Tensor) -> float:
    """How many standard deviations of one subset's figure lie between both KIDs (the root mean square of the two)."""
    (low, spread), (high, other) = kid(real, right), kid(real, wrong)
    return (high - low) / ((spread**2 + other**2) / 2) ** 0.5


def judge(network: str, pixels: np.ndarray, labels: np.ndarray) -> Iterator[str]:
    """The cells of a network's row."""
    extractor = extractor_named(network)
    rng = np.random.default_rng(0)
    half, start = len(pixels) // 2, time.process_time()

    def features(some: np.ndarray) -> torch.Tensor:
        return torch.cat(list(extract_features(extractor, some)))

    real, right = features(pixels[:half]), features(pixels[half:])
    speed = len(pixels) / (time.process_time() - start)
    for spoil in SPOILT.values():
        yield f"{apart(real, right, features(spoil(pixels[half:], rng))):.1f}"
    others = right[torch.from_numpy(labels[half:] != np.bincount(labels).argmax())]
    yield f"{apart(real, right, others):.1f}"
    plain = np.broadcast_to(rng.integers(0, 256, (len(real), 1, 1, 3), np.uint8), pixels[:half].shape)
    yield f"{precision(real, features(plain[:200])):.2f}"
    yield f"{(real @ right.T).mean().item() / extractor.width:.2f}"
    yield f"{speed:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--size", default="64")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--network", nargs="+", choices=list(SMALLEST), default=list(SMALLEST))
    parser.add_argument("--smallest", nargs="+", type=int, help="enlarge to so many pixels; default: as it is set")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pictures = hasama.open_pictures(given.source, hasama.RECIPES["dcgan"].but(size=given.size, labels=True))
    chosen = np.random.default_rng(0).permutation(len(pictures))[: given.count]
    if pictures.labels is None:
        raise SystemExit("The source has no classes.")
    pixels, labels = np.asarray(pictures.take(chosen)), pictures.labels[chosen]
    print("| network | enlarged to |", " | ".join([*SPOILT, "class missing", "plain", "x.y/F", "images/s"]), "|")
    print("|---|" + "---:|" * (len(SPOILT) + 5))
    for network in given.network:
        for least in given.smallest or [getattr(extractors, SMALLEST[network])]:
            setattr(extractors, SMALLEST[network], least)
            print(f"| {network} | {least} |", " | ".join(judge(network, pixels, labels)), "|", flush=True)


if __name__ == "__main__":
    main()
