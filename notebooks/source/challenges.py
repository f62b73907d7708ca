# %% [markdown]
# title

# %% [markdown]
# opening

# %%
import shutil

import matplotlib.pyplot as plt
import numpy as np
import torch

import hasama
from hasama.pictures.tensors import to_images, to_pixels
from hasama.runs.folder import Run
from hasama.runs.reports.diagnosis import diagnose, finding_lines
from hasama.studio.ring import Ring, Settings

# %% [markdown]
# ring


# %%
def played(count, **settings):
    """A game in the plane: the ring of eight heaps of points, as in the studio."""
    ring = Ring(Settings(**settings))
    ring.step("both", steps(count))
    return ring.told()


def draw(*games):
    """Blue: real points. Orange: generated ones."""
    _, axes = plt.subplots(1, len(games), figsize=(2.4 * len(games), 2.6), squeeze=False)
    for axis, told in zip(axes[0], games, strict=True):
        axis.scatter(*np.array(told["real"]).T, s=4)
        axis.scatter(*np.array(told["fake"]).T, s=4)
        axis.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), xticks=[], yticks=[], title=f"{told['modes']} / {told['of']}")
    plt.show()


collapsed = played(400, generator_lr=0.02)
mended = played(400, objective="relativistic", penalty="r1+r2")
draw(collapsed, mended)

# %% [markdown]
# digits


# %%
def trained(name, recipe):
    """Train on the digits into a run folder, from the beginning."""
    shutil.rmtree(f"runs/{name}", ignore_errors=True)
    recipe = recipe.but(kimg=min(recipe.kimg, steps(1000) / 10))
    for step in hasama.train("digits", recipe, f"runs/{name}"):
        pass
    return diagnose(Run(f"runs/{name}"))


def samples(name, count=20):
    generator = hasama.load_generator(f"runs/{name}/generator.safetensors")
    return hasama.grid(generator.generate(hasama.draw_latents(1, count, generator.latent_size)), 10, smallest=32)


def told(diagnosis, most=1):
    """What the doctor says of a run, and its most serious findings."""
    print(diagnosis.verdict)
    for one in [one for one in diagnosis.seen if one.holds][:most]:
        print("", *finding_lines(one), sep="\n")


plain = hasama.RECIPES["dense"].but(size="16", width=128, batch=32, kimg=32, health_kimg=2)
told(trained("collapsed", plain.but(generator_lr=5e-3, generator_betas=(0.9, 0.999))))
samples("collapsed")

# %% [markdown]
# digits-mended

# %%
told(trained("mended", plain.but(generator_lr=5e-4, discriminator_lr=5e-4)))
samples("mended")

# %% [markdown]
# sensitivity

# %%
rates = (1e-4, 1e-3, 1e-2)
table = [[played(150, generator_lr=g, discriminator_lr=d)["modes"] for d in rates] for g in rates]
print("modes of 8      ", *(f"D's rate {rate:6g}" for rate in rates))
for rate, row in zip(rates, table, strict=True):
    print(f"G's rate {rate:6g}", *(f"{modes:15d}" for modes in row))
print("another seed, the same rates of 1e-3:", [played(150, seed=seed)["modes"] for seed in (1, 2, 3)])

# %% [markdown]
# balance

# %%
unfair = plain.but(kimg=24, objective="minimax", discriminator_lr=2e-3, generator_lr=1e-5, discriminator_dropout=0.0)
told(trained("unfair", unfair), most=2)
samples("unfair")

# %% [markdown]
# balance-mended

# %%
fair = plain.but(generator_lr=5e-4, discriminator_lr=5e-4, balance="skip-strong")
told(trained("fair", fair))
plt.figure(figsize=(5, 2.2))
for name in ("unfair", "fair"):
    log = [line for line in Run(f"runs/{name}").log() if "accuracy_real" in line]
    right = [(line["accuracy_real"] + line["accuracy_fake"]) / 2 for line in log]
    plt.plot([line["images_seen"] for line in log], right, label=name)
plt.ylim(0.4, 1.02)
plt.legend()
plt.show()
samples("fair")

# %% [markdown]
# resolution

# %%
from hasama.networks.architectures.progressive import faded_view, twice
from hasama.runs.bases import place_named

base = hasama.load_generator(Run(place_named("portraits")).saved_generator())
portrait = to_images(hasama.generate_all(base, hasama.draw_latents(20, 1, base.latent_size)))


def enlarged(images, side):
    """Each pixel becomes several, so that small pictures can be seen."""
    while images.shape[2] < side:
        images = twice(images)
    return images


places = ((4, 1.0), (3, 0.5), (3, 1.0), (2, 0.5), (2, 1.0), (1, 0.5), (1, 1.0), (0, 1.0))  # halvings, share faded in
hasama.grid(to_pixels(torch.cat([enlarged(faded_view(portrait, *place), 64) for place in places])), columns=8)

# %% [markdown]
# growing

# %%
digits = hasama.open_pictures("digits", hasama.Recipe(size="16"))


def grown(recipe, kimg, looks):
    """Train, and take pictures on the way, of whatever size they have: a row for each look."""
    recipe = recipe.but(size="16", ema_kimg=0.5, seed=1).lasting(kimg)
    game = hasama.new_game(hasama.build(recipe, channels=1), recipe)
    latents, rows = hasama.draw_latents(1, 10, game.pair.latent_size), []
    batches = hasama.batches(digits, recipe.batch, seed=1)
    last = steps(int(kimg * 1000 / recipe.batch))
    for number, step in enumerate(hasama.play(game, (next(batches) for _ in range(last))), 1):
        if number % max(1, last // looks) == 0:
            made = hasama.TrainedGenerator(game.sampling_generator, recipe, game.pair.latent_size, 1)
            rows.append(made.generate(latents))
    return game, np.concatenate(rows)


progressive = hasama.RECIPES["progressive"].but(width=8, batch=16, grow_kimg=60)  # three sizes: 4, 8 and 16
game, rows = grown(progressive, 10, 5)
hasama.grid(rows, columns=10, smallest=32)

# %% [markdown]
# msg

# %%
game, rows = grown(hasama.RECIPES["msg"].but(width=8, batch=16), 8, 1)
game.pair.generator.train()
with torch.no_grad():
    sizes = game.pair.generator(hasama.draw_latents(1, 10, game.pair.latent_size))
print("the generator gives at once:", [list(one.shape[2:]) for one in sizes])
rows = torch.cat([enlarged(one, 16) for one in reversed(sizes)])
hasama.grid(to_pixels(rows.clamp(-1, 1)), columns=10, smallest=32)

# %% [markdown]
# exercises
