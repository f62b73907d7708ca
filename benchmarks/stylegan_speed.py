"""StyleGAN2 64x64: whole training steps of `hasama.play` against those of a usual PyTorch port.

    python benchmarks/stylegan_speed.py [--width 512] [--batch 8] [--steps 16] [--threads 1] [--only classic]

The classic side is StyleGAN2 (Karras et al. 2019 and 2020) written out as ports without compiled operators do it:
convolutions grouped by picture with modulated weights, blurs as zero insertion, padding and a convolution of single
channels, float32, plain Adam. Both sides have the same channels, R1 at every 16th step, path length at every 4th,
style mixing and the moving average. So `--steps` is a multiple of 16: each window of 16 steps holds one R1 and four
path lengths. The pictures are random: reading is not what is measured here. Ours has Hasama's allocator setting,
which `hasama train` runs with; the classic side is shown with one like it and without. Ours draws one set of fakes
for both turns of a step, as `play` does everywhere; the classic side, as usual, one for each.
"""

import argparse
import copy
import math
import random
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, autograd, nn
from torch.optim import Adam

from sides import compare, print_table, report, timed

SIDE, LATENT, MAPPING, WIDEST = 64, 512, 8, 512
WIDTH = (
    512  # <-- channels at 64x64, twice as many in maps half as wide, at most 512: 512 everywhere; --width overrides
)
R1_EVERY, PATH_EVERY = 16, 4
R1_WEIGHT, PATH_WEIGHT, MIXING, LR = 10.0, 2.0, 0.9, 0.002
WARM_UP = 1

WIDTHS = (64, 128, 256, 512)  # those for which both sides have the same channels everywhere
SIDES = {"classic (as written)": False, "classic (with the allocator set)": True, "ours": False}


def channels(width: int) -> list[int]:
    """Of the maps of 4x4, 8x8, ... 64x64."""
    return [min(WIDEST, width * SIDE // side) for side in (4, 8, 16, 32, 64)]


# --- the classic side: parts ----------------------------------------------------------------------


def fir(x: Tensor, kernel: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> Tensor:
    """Insert zeros, pad, filter every channel by itself, keep every `down`-th: each step a copy, as ports have it."""
    n, c, h, w = x.shape
    x = x.reshape(n * c, 1, h, 1, w, 1)
    x = F.pad(x, (0, up - 1, 0, 0, 0, up - 1)).reshape(n * c, 1, h * up, w * up)
    x = F.pad(x, (*pad, *pad))
    x = F.conv2d(x, kernel.flip(0, 1)[None, None])
    return x[:, :, ::down, ::down].reshape(n, c, *x[0, 0, ::down, ::down].shape)


def binomial(gain: float = 1.0) -> Tensor:
    """The filter [1, 3, 3, 1] in both directions: Karras et al. 2020, appendix B."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    square = line[:, None] * line[None]
    return square / square.sum() * gain


def leaky(x: Tensor, bias: Tensor) -> Tensor:
    """Bias, leaky ReLU, gain."""
    return F.leaky_relu(x + bias.view(1, -1, *[1] * (x.ndim - 2)), 0.2) * math.sqrt(2)


class Blur(nn.Module):
    kernel: Tensor

    def __init__(self, pad: tuple[int, int], gain: float = 1.0) -> None:
        super().__init__()
        self.pad = pad
        self.register_buffer("kernel", binomial(gain))

    def forward(self, x: Tensor) -> Tensor:
        return fir(x, self.kernel, pad=self.pad)


class Linear(nn.Module):
    """Equalised learning rate: Karras et al. 2018, section 4.1."""

    def __init__(self, a: int, b: int, bias: float = 0.0, rate: float = 1.0, active: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(b, a) / rate)
        self.bias = nn.Parameter(torch.full((b,), bias))
        self.scale, self.rate, self.active = rate / math.sqrt(a), rate, active

    def forward(self, x: Tensor) -> Tensor:
        if self.active:
            return leaky(F.linear(x, self.weight * self.scale), self.bias * self.rate)
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class Modulated(nn.Module):
    """A convolution whose weights are modulated for each picture: Karras et al. 2020, eq. 1 and 3."""

    def __init__(self, a: int, b: int, side: int, up: bool = False, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, b, a, side, side))
        self.scale, self.up, self.demodulate = 1 / math.sqrt(a * side**2), up, demodulate
        self.style = Linear(LATENT, a, bias=1.0)
        self.blur = Blur((1, 1), gain=4.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        n, a, height, width = x.shape
        weight = self.scale * self.weight * self.style(w).view(n, 1, a, 1, 1)
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.pow(2).sum((2, 3, 4), keepdim=True) + 1e-8)
        b, side = weight.shape[1], weight.shape[3]
        x = x.reshape(1, n * a, height, width)
        if self.up:
            kernels = weight.transpose(1, 2).reshape(n * a, b, side, side)
            x = F.conv_transpose2d(x, kernels, stride=2, groups=n)
            return self.blur(x.view(n, b, *x.shape[2:]))
        x = F.conv2d(x, weight.reshape(n * b, a, side, side), padding=side // 2, groups=n)
        return x.view(n, b, height, width)


class Styled(nn.Module):
    """Modulated convolution, noise, bias and leaky ReLU."""

    def __init__(self, a: int, b: int, up: bool = False) -> None:
        super().__init__()
        self.convolution = Modulated(a, b, 3, up)
        self.strength, self.bias = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(b))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.convolution(x, w)
        return leaky(x + self.strength * torch.randn(len(x), 1, *x.shape[2:]), self.bias)


class ToRGB(nn.Module):
    """Adds to the picture so far, enlarged: the skip generator of Karras et al. 2020, figure 7."""

    kernel: Tensor

    def __init__(self, a: int) -> None:
        super().__init__()
        self.convolution = Modulated(a, 3, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.register_buffer("kernel", binomial(4.0))

    def forward(self, x: Tensor, w: Tensor, so_far: Tensor | None) -> Tensor:
        x = self.convolution(x, w) + self.bias
        return x if so_far is None else x + fir(so_far, self.kernel, up=2, pad=(2, 1))


class Generator(nn.Module):
    """One or two latents (style mixing) -> pictures, and the w of each layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, *larger = channels(width)
        self.mapping = nn.Sequential(*[Linear(LATENT, LATENT, rate=0.01, active=True) for _ in range(MAPPING)])
        self.first = nn.Parameter(torch.randn(1, first, 4, 4))
        self.styled, self.to_rgb = nn.ModuleList([Styled(first, first)]), nn.ModuleList([ToRGB(first)])
        for a, b in pairwise([first, *larger]):
            self.styled.extend([Styled(a, b, up=True), Styled(b, b)])
            self.to_rgb.append(ToRGB(b))
        self.layers = 2 * len(self.to_rgb)

    def forward(self, latents: list[Tensor]) -> tuple[Tensor, Tensor]:
        w = [self.mapping(z * torch.rsqrt(z.pow(2).mean(1, keepdim=True) + 1e-8)) for z in latents]
        change = random.randint(1, self.layers - 1)
        ws = torch.stack([w[0]] * change + [w[-1]] * (self.layers - change), 1)
        x = self.styled[0](self.first.repeat(len(ws), 1, 1, 1), ws[:, 0])
        picture = self.to_rgb[0](x, ws[:, 1], None)
        for place in range(1, len(self.styled), 2):
            x = self.styled[place](x, ws[:, place])
            x = self.styled[place + 1](x, ws[:, place + 1])
            picture = self.to_rgb[(place + 1) // 2](x, ws[:, place + 2], picture)
        return picture, ws


class Convolution(nn.Module):
    """Equalised; blurred before a stride of 2."""

    def __init__(self, a: int, b: int, side: int, down: bool = False, active: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(b, a, side, side))
        self.bias = nn.Parameter(torch.zeros(b)) if active else None
        self.scale, self.down = 1 / math.sqrt(a * side**2), down
        spare = 2 + side - 1  # [1, 3, 3, 1] takes 3; half of the picture shall be left
        self.blur = Blur(((spare + 1) // 2, spare // 2)) if down else None

    def forward(self, x: Tensor) -> Tensor:
        if self.blur is not None:
            x = F.conv2d(self.blur(x), self.weight * self.scale, stride=2)
        else:
            x = F.conv2d(x, self.weight * self.scale, padding=self.weight.shape[2] // 2)
        return x if self.bias is None else leaky(x, self.bias)


class Residual(nn.Module):
    """Half as large: the residual discriminator of Karras et al. 2020, figure 7."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.path = nn.Sequential(Convolution(a, a, 3), Convolution(a, b, 3, down=True))
        self.skip = Convolution(a, b, 1, down=True, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.path(x) + self.skip(x)) / math.sqrt(2)


class Discriminator(nn.Module):
    """Pictures -> logits [N, 1], with the minibatch's standard deviation: Karras et al. 2018, section 3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = channels(width)[::-1]
        stages = [Residual(a, b) for a, b in pairwise(sizes)]
        self.blocks = nn.Sequential(Convolution(3, sizes[0], 1), *stages)
        self.last = Convolution(sizes[-1] + 1, sizes[-1], 3)
        self.dense = nn.Sequential(Linear(sizes[-1] * 16, sizes[-1], active=True), Linear(sizes[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        n, c, h, w = x.shape
        group = min(n, 4)
        spread = torch.sqrt(x.view(group, -1, 1, c, h, w).var(0, unbiased=False) + 1e-8)
        spread = spread.mean((2, 3, 4), keepdim=True).squeeze(2).repeat(group, 1, h, w)
        return self.dense(self.last(torch.cat([x, spread], 1)).flatten(1))


# --- the classic side: training -------------------------------------------------------------------


class Learner(NamedTuple):
    """A player with its optimizer, whose settings allow for lazy regularisation: Karras et al. 2020, appendix B."""

    network: nn.Module
    adam: Adam

    @classmethod
    def of(cls, network: nn.Module, every: int) -> "Learner":
        share = every / (every + 1)
        return cls(network, Adam(network.parameters(), lr=LR * share, betas=(0.0, 0.99**share)))

    def descend(self, loss: Tensor) -> float:
        self.network.zero_grad()
        loss.backward()
        self.adam.step()
        return loss.item()  # ports print them at every step


def noises(count: int) -> list[Tensor]:
    """Latents, nine times in ten two sets of them."""
    return [torch.randn(count, LATENT) for _ in range(2 if random.random() < MIXING else 1)]


def classic(batch: int, width: int) -> Iterator[None]:
    """The usual code: Karras et al. 2020 with the losses of Goodfellow et al. 2014 and Mescheder et al. 2018."""
    g, d = Learner.of(Generator(width), PATH_EVERY), Learner.of(Discriminator(width), R1_EVERY)
    average = copy.deepcopy(g.network).eval()
    mean_length, step = torch.zeros(()), 0
    while True:
        real = torch.rand(batch, 3, SIDE, SIDE) * 2 - 1
        g.network.requires_grad_(False)
        d.network.requires_grad_(True)
        fake = g.network(noises(batch))[0]
        fake_logits, real_logits = d.network(fake), d.network(real)
        d.descend(F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean())
        if step % R1_EVERY == 0:
            d.descend(R1_WEIGHT / 2 * R1_EVERY * r1(d.network, real.requires_grad_()))

        g.network.requires_grad_(True)
        d.network.requires_grad_(False)
        g.descend(F.softplus(-d.network(g.network(noises(batch))[0])).mean())
        if step % PATH_EVERY == 0:
            lengths = path_lengths(g.network, max(1, batch // 2))
            mean_length = mean_length.lerp(lengths.detach().mean(), 0.01)
            g.descend(PATH_WEIGHT * PATH_EVERY * (lengths - mean_length).pow(2).mean())
        with torch.no_grad():
            for mine, other in zip(average.parameters(), g.network.parameters(), strict=True):
                mine.mul_(0.5 ** (32 / 10_000)).add_(other, alpha=1 - 0.5 ** (32 / 10_000))
        step += 1
        yield


def r1(discriminator: nn.Module, real: Tensor) -> Tensor:
    """Mescheder et al. 2018, eq. 9."""
    (gradient,) = autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.pow(2).flatten(1).sum(1).mean()


def path_lengths(generator: nn.Module, batch: int) -> Tensor:
    """|J_w^T y| for random pictures y: Karras et al. 2020, eq. 4, on half a batch as is usual."""
    fake, ws = generator(noises(batch))
    noise = torch.randn_like(fake) / math.sqrt(SIDE * SIDE)
    (gradient,) = autograd.grad((fake * noise).sum(), ws, create_graph=True)
    return gradient.pow(2).sum(2).mean(1).sqrt()


# --- ours -----------------------------------------------------------------------------------------


def ours(batch: int, width: int) -> Iterator[None]:
    """What `hasama train` does at each step, without the files."""
    import hasama
    from hasama.device import keep_memory

    keep_memory()
    sizes = {"width": width, "latent_size": LATENT, "mapping_layers": MAPPING}
    recipe = hasama.RECIPES["stylegan"].but(size=str(SIDE), batch=batch, **sizes)
    game = hasama.new_game(hasama.build(recipe, 3), recipe)
    for _ in hasama.play(game, (torch.rand(batch, 3, SIDE, SIDE) * 2 - 1 for _ in iter(int, 1))):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, help="1 to 4, or a multiple of 4")
    parser.add_argument("--width", type=int, default=WIDTH, choices=WIDTHS)
    parser.add_argument("--steps", type=int, default=R1_EVERY)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", help="the sides whose names begin so, such as classic")
    parser.add_argument("--side")
    given = parser.parse_args()
    if given.steps % R1_EVERY:
        parser.error(f"--steps must be a multiple of {R1_EVERY}, so that the lazy penalties count as they should")
    if given.side:
        torch.set_num_threads(given.threads)
        steps = {"classic": classic, "ours": ours}[given.side](given.batch, given.width)
        timed(steps, 0, WARM_UP, given.batch)
        begun = time.process_time()
        images, seconds = timed(steps, given.steps, 0, given.batch)
        report(images, seconds, core_seconds=time.process_time() - begun)
        return
    arguments = [f"--{name}={getattr(given, name)}" for name in ("batch", "width", "steps", "threads")]
    sides = {name: allocator for name, allocator in SIDES.items() if name.startswith(given.only or "")}
    print_table(compare(__file__, sides, arguments, given.rounds), list(sides)[-1])


if __name__ == "__main__":
    main()
