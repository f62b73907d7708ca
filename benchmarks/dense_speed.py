"""Dense GAN on 28x28 greys, batch 256: `hasama.train` against the lesson's loop.

    python benchmarks/dense_speed.py [--images 20000] [--rounds 3]

The lesson's side is the loop of the usual PyTorch lesson written out: a data set whose transforms run sample by
sample, float32, binary cross-entropy on sigmoids against vectors of ones and zeros, plain Adam, new latents for each
stage, and the generator's loss propagated through a discriminator that is not frozen. Ours is the public `train`
with everything it does: log, grids, plot, checkpoints.
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sides import compare, print_table, report, timed

BATCH, LATENT, SIDE = 256, 100, 28


def make_arrays(path: Path, count: int) -> Path:
    """Greys of 28x28: scikit-learn's digits, enlarged, in an .npz."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        digits = (load_digits(return_X_y=True)[0].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
        large = np.stack([np.asarray(Image.fromarray(digit).resize((SIDE, SIDE))) for digit in digits])
        np.savez(path, images=large[np.arange(count) % len(large)])
    return path


def lesson(path: Path) -> Iterator[None]:
    """The usual code."""
    import numpy as np
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    class Greys(Dataset):
        def __init__(self) -> None:
            self.images = torch.from_numpy(np.load(path)["images"])

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> torch.Tensor:
            image = self.images[index].numpy()[:, :, None].transpose(2, 0, 1)
            return torch.from_numpy(image).float().div(255).sub(0.5).div(0.5)

    def layers(sizes: list[int], dropout: float) -> list[nn.Module]:
        made: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            made += [nn.Linear(a, b), nn.LeakyReLU(0.2), *([nn.Dropout(dropout)] if dropout else [])]
        return made

    pixels = SIDE * SIDE
    generator = nn.Sequential(*layers([LATENT, 256, 512, 1024], 0), nn.Linear(1024, pixels), nn.Tanh())
    discriminator = nn.Sequential(*layers([pixels, 1024, 512, 256], 0.3), nn.Linear(256, 1), nn.Sigmoid())
    criterion = nn.BCELoss()
    adam_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    loader = DataLoader(Greys(), batch_size=BATCH, shuffle=True, drop_last=True)
    ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)
    while True:
        for real in loader:
            adam_d.zero_grad()
            loss_real = criterion(discriminator(real.view(BATCH, -1)), ones)
            fake = generator(torch.randn(BATCH, LATENT))
            loss_fake = criterion(discriminator(fake.detach()), zeros)
            (loss_real + loss_fake).backward()
            adam_d.step()
            adam_g.zero_grad()
            loss_g = criterion(discriminator(generator(torch.randn(BATCH, LATENT))), ones)
            loss_g.backward()
            adam_g.step()
            _ = loss_g.item(), loss_real.item()
            yield


def ours(path: Path) -> Iterator[None]:
    """What a user of Hasama runs."""
    import hasama

    recipe = hasama.RECIPES["dense"].but(batch=BATCH, latent_size=LATENT, kimg=10_000.0)
    with tempfile.TemporaryDirectory() as out:
        for _ in hasama.train(str(path), recipe, Path(out) / "run"):
            yield


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side")
    given = parser.parse_args()
    path = Path(__file__).parent / "out" / f"greys-{given.images}.npz"
    if given.side:
        report(*timed({"lesson": lesson, "ours": ours}[given.side](path), given.steps, 10, BATCH))
        return
    make_arrays(path, given.images)
    sides = {"lesson (as written)": False, "lesson (with the allocator set)": True, "ours": False}
    arguments = ["--images", str(given.images), "--steps", str(given.steps)]
    print_table(compare(__file__, sides, arguments, given.rounds), "ours")


if __name__ == "__main__":
    main()
