# %% [markdown]
# title

# %% [markdown]
# before

# %% [markdown]
# opening

# %% [markdown]
# pictures

# %%
from itertools import pairwise

import numpy as np
import torch
from torch import nn

import hasama
from hasama.pictures.tensors import to_pixels

SOURCE = "digits"  # or "mnist", which is downloaded (11 MB); or a folder of your own pictures
SIZE = 16

torch.manual_seed(42)
pictures = hasama.open_pictures(SOURCE, hasama.Recipe(size=str(SIZE), colour="grey"))
batches = hasama.batches(pictures, batch=64, seed=42)  # endless; each batch [64, 1, 16, 16] in [-1, 1]


def show(images):
    return hasama.grid(to_pixels(images), columns=10, smallest=32)


print(len(pictures), "pictures")
show(next(batches).images[:20])

# %% [markdown]
# dense

# %%
LATENT = 100
PIXELS = SIZE * SIZE


def dense_generator():
    sizes, layers = (LATENT, 256, 512, 1024), []
    for here, there in pairwise(sizes):
        layers += [nn.Linear(here, there), nn.BatchNorm1d(there, momentum=0.2), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(1024, PIXELS), nn.Tanh(), nn.Unflatten(1, (1, SIZE, SIZE)))


def dense_discriminator():
    layers = [nn.Flatten(), nn.Linear(PIXELS, 512), nn.LeakyReLU(0.2), nn.Linear(512, 256), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(256, 1))


def noise(count):
    return torch.randn(count, LATENT)


fixed = noise(20)  # always the same noise, so that grids can be compared
show(dense_generator()(fixed).detach())

# %% [markdown]
# two-stages

# %%
loss = nn.BCEWithLogitsLoss()  # the sigmoid and the binary cross entropy in one


class Game:
    """Two networks, and an optimizer for each."""

    def __init__(self, generator, discriminator, generator_lr=2e-4, discriminator_lr=2e-4):
        self.generator, self.discriminator = generator, discriminator
        adam = {"betas": (0.5, 0.999), "weight_decay": 8e-9}
        self.generator_optimizer = torch.optim.Adam(generator.parameters(), generator_lr, **adam)
        self.discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), discriminator_lr, **adam)


def labels(value, logits):
    return torch.full_like(logits, value)


def stage_1(game, real):
    """The discriminator learns: fakes are 0, reals are 1."""
    fake = game.generator(noise(len(real))).detach()
    real_logits, fake_logits = game.discriminator(real), game.discriminator(fake)
    cost = (loss(real_logits, labels(1.0, real_logits)) + loss(fake_logits, labels(0.0, fake_logits))) / 2
    game.discriminator_optimizer.zero_grad()
    cost.backward()
    game.discriminator_optimizer.step()
    return cost.item()


def stage_2(game, count):
    """The generator learns through the frozen discriminator: its fakes are to be taken for 1."""
    game.discriminator.requires_grad_(False)
    logits = game.discriminator(game.generator(noise(count)))
    cost = loss(logits, labels(1.0, logits))
    game.generator_optimizer.zero_grad()
    cost.backward()
    game.generator_optimizer.step()
    game.discriminator.requires_grad_(True)
    return cost.item()


def train(game, count, first=stage_1, second=stage_2):
    """Play so many rounds; gives [rounds, 2]: the discriminator's loss and the generator's."""
    told = []
    for _ in range(steps(count)):
        real = next(batches).images
        told.append((first(game, real), second(game, len(real))))
    return torch.tensor(told)


# %% [markdown]
# first-training


# %%
def samples(game):
    """Pictures from the fixed noise, and the network is left in the mode in which it was."""
    training = game.generator.training
    game.generator.eval()
    with torch.no_grad():
        made = game.generator(fixed)
    game.generator.train(training)
    return show(made)


torch.manual_seed(42)
dense = Game(dense_generator(), dense_discriminator())
dense_losses = train(dense, 1500)
samples(dense)

# %% [markdown]
# losses

# %%
import matplotlib.pyplot as plt


def plot(losses, title=""):
    smooth = losses.T.unfold(1, min(20, len(losses)), 1).mean(2)
    plt.figure(figsize=(5, 2.2))
    plt.plot(smooth[0], label="discriminator")
    plt.plot(smooth[1], label="generator")
    plt.title(title)
    plt.legend()
    plt.show()


plot(dense_losses, "dense")

# %% [markdown]
# dcgan


# %%
def up(here, there, kernel=4, stride=2, padding=1):
    """A transposed convolution: each side of the maps doubles."""
    layer = nn.ConvTranspose2d(here, there, kernel, stride, padding, bias=False)
    return [layer, nn.BatchNorm2d(there), nn.ReLU()]


def down(here, there):
    """A convolution with stride 2: each side of the maps is halved."""
    return [nn.Conv2d(here, there, 4, 2, 1, bias=False), nn.BatchNorm2d(there), nn.LeakyReLU(0.2)]


def begin(network):
    """The starting weights of DCGAN: N(0, 0.02) and, in BatchNorm, N(1, 0.02)."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)):
            nn.init.normal_(layer.weight, float(isinstance(layer, nn.BatchNorm2d)), 0.02)
    return network


def conv_generator():
    first = [nn.Unflatten(1, (LATENT, 1, 1)), *up(LATENT, 128, SIZE // 4, 1, 0)]  # [N, 100] -> [N, 128, 4, 4]
    return begin(nn.Sequential(*first, *up(128, 64), nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh()))


def conv_discriminator():
    first = [nn.Conv2d(1, 64, 4, 2, 1), nn.LeakyReLU(0.2), *down(64, 128)]  # [N, 1, 16, 16] -> [N, 128, 4, 4]
    return begin(nn.Sequential(*first, nn.Flatten(), nn.Linear(128 * (SIZE // 4) ** 2, 1)))


torch.manual_seed(42)
conv = Game(conv_generator(), conv_discriminator())
conv_losses = train(conv, 450)
samples(conv)

# %% [markdown]
# dcgan-losses

# %%
plot(conv_losses, "DCGAN")

# %% [markdown]
# quality

# %%
from hasama.metrics.distances import squared_mmd

reals = next(hasama.batches(pictures, batch=256, seed=1)).images.flatten(1)


@torch.no_grad()
def distance(game):
    """How far 256 fakes, as a whole, are from 256 reals: squared MMD of the pixels; less is better."""
    return squared_mmd(reals, game.generator(noise(256)).flatten(1))


torch.manual_seed(1)
watched = Game(dense_generator(), dense_discriminator())
distances, losses = [distance(watched)], []
for _ in range(6):
    losses.append(train(watched, 100))
    distances.append(distance(watched))
print("distance           ", *(f"{one:7.3f}" for one in distances[1:]))
for number, name in enumerate(("discriminator's loss", "generator's loss    ")):
    print(name[:20], *(f"{one[-50:, number].mean():7.3f}" for one in losses))

# %% [markdown]
# mistakes

# %% [markdown]
# not-frozen


# %%
def stage_2_not_frozen(game, count):
    """The mistake: one optimizer moves both networks towards 'the fakes are real'."""
    if not hasattr(game, "both"):
        everything = [*game.generator.parameters(), *game.discriminator.parameters()]
        game.both = torch.optim.Adam(everything, 2e-4, betas=(0.5, 0.999))
    logits = game.discriminator(game.generator(noise(count)))
    cost = loss(logits, labels(1.0, logits))
    game.both.zero_grad()
    cost.backward()
    game.both.step()
    return cost.item()


def accuracy(game):
    """How often the discriminator is right: of reals, of fakes."""
    with torch.no_grad():
        real, fake = game.discriminator(next(batches).images), game.discriminator(game.generator(noise(64)))
    return f"right of reals {(real > 0).float().mean():.0%}, of fakes {(fake < 0).float().mean():.0%}"


torch.manual_seed(42)
right = Game(dense_generator(), dense_discriminator())
train(right, 300)
torch.manual_seed(42)
wrong = Game(dense_generator(), dense_discriminator())
train(wrong, 300, second=stage_2_not_frozen)
print("frozen:    ", accuracy(right), f"; distance {distance(right):.2f}")
print("not frozen:", accuracy(wrong), f"; distance {distance(wrong):.2f}")
samples(wrong)

# %% [markdown]
# detach

# %%
game = Game(dense_generator(), dense_discriminator())
fake = game.generator(noise(64))  # made once, for both stages, as most code does


def norm(network):
    """The length of the gradient that waits in a network's weights."""
    return sum(float(p.grad.square().sum()) for p in network.parameters() if p.grad is not None) ** 0.5


logits = game.discriminator(fake)  # the mistake: no .detach()
loss(logits, labels(0.0, logits)).backward()
print(f"after stage 1 the generator has a gradient of length {norm(game.generator):.4f}")
try:
    logits = game.discriminator(fake)
    loss(logits, labels(1.0, logits)).backward()
except RuntimeError as error:
    print("stage 2:", str(error).partition(" (or")[0])

# %% [markdown]
# eval


# %%
def train_with_pictures(generator_after):
    """Train, look at a picture after 5 rounds, and leave the generator in some mode for the rest."""
    torch.manual_seed(42)
    game = Game(conv_generator(), conv_discriminator())
    train(game, 5)
    samples(game)
    generator_after(game.generator)
    train(game, 150)
    return game


good = train_with_pictures(lambda generator: generator.train())
bad = train_with_pictures(lambda generator: generator.eval())  # the mistake: eval() for the picture, and no train()
print(f"distance: {distance(good):.2f} with train() after the picture, {distance(bad):.2f} without")
show(torch.cat([good.generator.eval()(fixed[:10]), bad.generator.eval()(fixed[:10])]).detach())

# %%
judge = good.discriminator
with torch.no_grad():
    real = next(batches).images
    for mode in (True, False):
        judge.train(mode)
        print("train()" if mode else "eval() ", f"mean logit of reals {judge(real).mean():.2f}")
judge.zero_grad()
judge(real).mean().backward()
print(f"and in eval() a gradient of length {norm(judge):.2f} still reaches its weights: eval() does not freeze")

# %% [markdown]
# too-strong

# %%
torch.manual_seed(42)
strong = Game(dense_generator(), dense_discriminator(), generator_lr=2e-5, discriminator_lr=2e-3)
train(strong, 100, second=lambda game, count: 0.0)  # a hundred rounds of stage 1 alone
print(accuracy(strong))
for name, sign, value in (("minimax", -1, 0.0), ("non-saturating", 1, 1.0)):
    logits = strong.discriminator(strong.generator(noise(64)))
    strong.generator.zero_grad()
    (sign * loss(logits, labels(value, logits))).backward()
    print(f"{name:15} gradient of length {norm(strong.generator):.1e} for the generator")
train(strong, 300)
print(f"after 300 rounds of both stages: distance {distance(strong):.2f}, where {distance(right):.2f} was right")
samples(strong)

# %% [markdown]
# vae


# %%
class VAE(nn.Module):
    """The encoder says where in the latent space a picture lies, the decoder draws it again from there."""

    def __init__(self, size=16):
        super().__init__()
        self.size = size
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 512), nn.ReLU(), nn.Linear(512, 2 * size))
        layers = [
            nn.Linear(size, 512),
            nn.ReLU(),
            nn.Linear(512, PIXELS),
            nn.Tanh(),
            nn.Unflatten(1, (1, SIZE, SIZE)),
        ]
        self.decoder = nn.Sequential(*layers)

    def forward(self, images):
        mean, log_variance = self.encoder(images).chunk(2, 1)
        latents = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return self.decoder(latents), mean, log_variance


torch.manual_seed(42)
vae = VAE()
adam = torch.optim.Adam(vae.parameters(), 1e-3)
for _ in range(steps(1500)):
    real = next(batches).images
    drawn, mean, log_variance = vae(real)
    rebuilding = (drawn - real).square().flatten(1).sum(1).mean() * 2
    to_normal = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
    adam.zero_grad()
    (rebuilding + to_normal).backward()
    adam.step()
with torch.no_grad():
    of_the_vae = vae.decoder(torch.randn(10, vae.size))
    of_the_gan = conv.generator.eval()(fixed[:10])
    of_the_data = next(batches).images[:10]
show(torch.cat([of_the_data, of_the_vae, of_the_gan]))

# %% [markdown]
# play

# %%
recipe = hasama.Recipe(size=str(SIZE), generator_lr=4e-4, discriminator_lr=4e-4, ema_kimg=1.0, ema_rampup=1.0)
torch.manual_seed(42)
pair = hasama.Pair(conv_generator(), conv_discriminator(), latent_size=LATENT)
ours = hasama.new_game(pair, recipe)
for step in hasama.play(ours, (next(batches) for _ in range(steps(350)))):
    if step.images_seen % 6400 == 0:
        told = step.figures()
        print(step.images_seen, {name: round(told[name], 2) for name in ("loss_discriminator", "loss_generator")})
trained = hasama.TrainedGenerator(ours.sampling_generator, None, LATENT, channels=1)
hasama.grid(trained.generate(hasama.draw_latents(1, 30, LATENT)), columns=10, smallest=32)

# %% [markdown]
# own-folder

# %%
from pathlib import Path

FOLDER = Path("my-pictures")  # a folder of your own pictures; here one is made of the digits 3
if not FOLDER.exists():
    FOLDER.mkdir()
    threes = hasama.open_pictures("digits", hasama.Recipe(size="16", only="3"))
    for number, pixels in enumerate(threes.take(np.arange(len(threes)))):
        hasama.save_picture(hasama.grid(pixels[None], smallest=16, gap=0), FOLDER / f"{number:03}.png")

mine = hasama.RECIPES["demo"].but(size="16", kimg=steps(600) / 100, ema_kimg=1.0)
run = Path("runs", FOLDER.resolve().name)  # each folder of pictures has a run of its own
for step in hasama.train(str(FOLDER), mine, str(run)):
    pass
generator = hasama.load_generator(run / "generator.safetensors")
latents = hasama.draw_latents(seed=1, count=20, size=generator.latent_size)
hasama.grid(generator.generate(latents), columns=10, smallest=32)

# %% [markdown]
# after

# %% [markdown]
# next
