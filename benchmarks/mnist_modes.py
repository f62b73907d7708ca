"""Does a DCGAN on MNIST paint all ten digits? A small classifier, trained here, counts them.

    python benchmarks/mnist_modes.py --mnist FOLDER [--kimg 800] [--out benchmarks/out/mnist]

FOLDER holds mnist-train.npz and mnist-test.npz (`images` uint8 [N, 28, 28], `labels`). Trains the classifier
until it reads 99 % of the test set, trains the GAN by `hasama train`, paints 10,000 pictures and prints the
share of each digit and the classifier's mean confidence. Wanted: each digit at least 4 %, confidence at least 0.9.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import hasama
from hasama.device import keep_memory

SIDE, PAINTED = 32, 10_000
RECIPE = hasama.RECIPES["dcgan"].but(size=str(SIDE), batch=64)


def network() -> nn.Sequential:
    """A classifier of 32x32 greys."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 8 * 8, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10),
    )  # fmt: skip


def train_classifier(folder: Path) -> tuple[nn.Sequential, float]:
    """The classifier and its share of right answers on the test set."""
    shape = RECIPE.but(labels=True)
    seen = hasama.open_pictures(str(folder / "mnist-train.npz"), shape)
    unseen = hasama.open_pictures(str(folder / "mnist-test.npz"), shape)
    torch.manual_seed(0)
    classifier, steps = network(), 3 * len(seen) // 128
    adam = torch.optim.Adam(classifier.parameters(), lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 2e-3, total_steps=steps)
    for step, (images, labels) in enumerate(hasama.batches(seen, 128, seed=0)):
        if step == steps:
            break
        adam.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(classifier(images).float(), torch.as_tensor(labels))
        loss.backward()
        adam.step()
        schedule.step()
    right = torch.cat(
        [logits.argmax(1) for logits in read(classifier, torch.from_numpy(unseen.take(np.arange(len(unseen)))))]
    )
    return classifier, (right == torch.tensor(unseen.labels)).float().mean().item()


@torch.no_grad()
def read(classifier: nn.Module, pixels: torch.Tensor) -> list[torch.Tensor]:
    """Logits of uint8 [N, H, W, 1], in batches."""
    classifier.eval()
    return [classifier(some.permute(0, 3, 1, 2).float() / 127.5 - 1) for some in pixels.split(500)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--kimg", type=float, default=800)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out" / "mnist")
    given = parser.parse_args()
    keep_memory()

    start = time.perf_counter()
    classifier, accuracy = train_classifier(given.mnist)
    print(f"classifier: {accuracy:.2%} of the test set in {time.perf_counter() - start:.0f} s", flush=True)

    start = time.perf_counter()
    for step in hasama.train(str(given.mnist / "mnist-train.npz"), RECIPE.but(kimg=given.kimg), given.out):
        if step.images_seen % 50_048 < RECIPE.batch:
            print(f"  {step.images_seen / 1000:6.1f} kimg  {time.perf_counter() - start:5.0f} s", flush=True)
    minutes = (time.perf_counter() - start) / 60

    generator = hasama.load_generator(hasama.Run(given.out).generator)
    latents = hasama.draw_latents(1, PAINTED, generator.latent_size)
    pixels = torch.cat([torch.from_numpy(some) for some in hasama.generate(generator, latents)])
    hasama.save_picture(hasama.grid(pixels[:100].numpy()), given.out / "painted.png")
    confidence, digits = torch.cat(read(classifier, pixels)).softmax(1).max(1)
    shares = torch.bincount(digits, minlength=10) / PAINTED
    print(f"GAN: {given.kimg:g} kimg in {minutes:.1f} minutes")
    print("share of each digit: " + "  ".join(f"{digit}: {share:.1%}" for digit, share in enumerate(shares.tolist())))
    print(f"rarest digit {shares.min():.1%} (wanted: 4 %)   mean confidence {confidence.mean():.3f} (wanted: 0.9)")


if __name__ == "__main__":
    main()
