"""Any two modules can play: here a generator that draws with eight brush strokes of its own.

python examples/your_own_networks.py
"""

from pathlib import Path

import torch
from torch import nn

import hasama


class Strokes(nn.Module):
    """Eight Gaussian dots on a 16x16 canvas, whose places and sizes a small network decides."""

    def __init__(self) -> None:
        super().__init__()
        self.decide = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 8 * 4))
        self.register_buffer("places", torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 16)] * 2, indexing="ij")))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        y, x, size, strength = self.decide(latents).view(-1, 8, 4, 1, 1).unbind(2)
        distance = (self.get_buffer("places")[0] - y) ** 2 + (self.get_buffer("places")[1] - x) ** 2
        ink = strength.sigmoid() * torch.exp(-distance / (0.02 + 0.2 * size.sigmoid()))
        return 2 * ink.sum(1, keepdim=True).clamp(max=1) - 1  # [N, 8, 16, 16] -> [N, 1, 16, 16]


recipe = hasama.Recipe(size="16", objective="hinge", kimg=30)
discriminator = hasama.build(recipe.but(width=32), channels=1).discriminator
game = hasama.new_game(hasama.Pair(Strokes(), discriminator, latent_size=16), recipe)
pictures = hasama.open_pictures("digits", recipe)
for step in hasama.play(game, hasama.batches(pictures, recipe.batch, seed=0)):
    if step.images_seen >= recipe.kimg * 1000:
        break
generator = hasama.TrainedGenerator(game.sampling_generator, None, latent_size=16, channels=1)
hasama.save_picture(hasama.grid(generator.generate(hasama.draw_latents(0, 64, 16))), Path("runs/strokes.png"))
