"""DCGAN 64x64 from a folder of JPEGs: `hasama.train` against the classic PyTorch DCGAN example's loop.

    python benchmarks/dcgan_speed.py [--folder JPEGS] [--batch 128] [--rounds 3]

The classic side is that example's loop written out: an image folder read by two workers, resize and centre
crop per sample, float32, BatchNorm in both networks, binary cross-entropy on sigmoids, one set of fakes per
step, plain Adam. Ours is the public `train` with everything it does: log, grids, plot, checkpoints.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pictures import make_jpegs
from sides import compare, print_table, report, timed

if TYPE_CHECKING:
    from torch import nn

WIDTH, LATENT, SIDE = 64, 100, 64


def classic(folder: Path, batch: int) -> Iterator["nn.Module"]:
    """The usual code; after every step, its generator."""
    import numpy as np
    import torch
    from PIL import Image
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    class ImageFolder(Dataset):
        def __init__(self) -> None:
            self.files = sorted(folder.rglob("*.jpg"))

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, index: int) -> torch.Tensor:
            with self.files[index].open("rb") as file:
                picture = Image.open(file).convert("RGB")
            scale = SIDE / min(picture.size)
            size = round(picture.width * scale), round(picture.height * scale)
            picture = picture.resize(size, Image.Resampling.BILINEAR)
            left, top = (picture.width - SIDE) // 2, (picture.height - SIDE) // 2
            picture = picture.crop((left, top, left + SIDE, top + SIDE))
            image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)
            return (image - 0.5) / 0.5

    def up(a: int, b: int, stride: int, padding: int) -> list[nn.Module]:
        return [nn.ConvTranspose2d(a, b, 4, stride, padding, bias=False), nn.BatchNorm2d(b), nn.ReLU(True)]

    def down(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True)]

    w = WIDTH
    generator = nn.Sequential(
        *up(LATENT, 8 * w, 1, 0), *up(8 * w, 4 * w, 2, 1), *up(4 * w, 2 * w, 2, 1), *up(2 * w, w, 2, 1),
        nn.ConvTranspose2d(w, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(3, w, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
        *down(w, 2 * w), *down(2 * w, 4 * w), *down(4 * w, 8 * w),
        nn.Conv2d(8 * w, 1, 4, 1, 0, bias=False), nn.Sigmoid(),
    )  # fmt: skip
    criterion = nn.BCELoss()
    adam_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    loader = DataLoader(ImageFolder(), batch_size=batch, shuffle=True, num_workers=2, drop_last=True)
    while True:
        for real in loader:
            ones, zeros = torch.ones(batch), torch.zeros(batch)
            discriminator.zero_grad()
            loss_real = criterion(discriminator(real).view(-1), ones)
            loss_real.backward()
            fake = generator(torch.randn(batch, LATENT, 1, 1))
            loss_fake = criterion(discriminator(fake.detach()).view(-1), zeros)
            loss_fake.backward()
            adam_d.step()
            generator.zero_grad()
            loss_g = criterion(discriminator(fake).view(-1), ones)
            loss_g.backward()
            adam_g.step()
            _ = loss_g.item(), loss_real.item(), loss_fake.item()  # the example prints them at every step
            yield generator


def ours(folder: Path, batch: int) -> Iterator[None]:
    """What a user of Hasama runs."""
    import hasama

    recipe = hasama.RECIPES["dcgan"].but(batch=batch, width=WIDTH, latent_size=LATENT, size=str(SIDE), kimg=1000.0)
    with tempfile.TemporaryDirectory() as out:
        for _ in hasama.train(str(folder), recipe, Path(out) / "run"):
            yield


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "out" / "jpegs")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side")
    given = parser.parse_args()
    if given.side:
        steps = {"classic": classic, "ours": ours}[given.side](given.folder, given.batch)
        report(*timed(steps, given.steps, 5, given.batch))
        return
    if given.folder == parser.get_default("folder"):
        make_jpegs(given.folder)
    arguments = ["--folder", str(given.folder), "--batch", str(given.batch), "--steps", str(given.steps)]
    sides = {"classic (as written)": False, "classic (with the allocator set)": True, "ours": False}
    print_table(compare(__file__, sides, arguments, given.rounds), "ours")


if __name__ == "__main__":
    main()
