# %% [markdown]
# title

# %% [markdown]
# opening

# %%
import numpy as np
import torch

import hasama
from hasama.generators.sampling import crossed, generate_from_w, slerp, to_w
from hasama.pictures.tensors import to_images, to_pixels
from hasama.runs.bases import about_base, place_named
from hasama.runs.folder import Run

base = hasama.load_generator(Run(place_named("portraits")).saved_generator())
print(about_base("portraits"))
hasama.grid(hasama.generate_all(base, hasama.draw_latents(seed=1, count=32, size=base.latent_size)), columns=8)

# %% [markdown]
# latents

# %%
latents = hasama.draw_latents(seed=1, count=1000, size=base.latent_size)
lengths = latents.norm(dim=1)
print("a latent:", [round(float(z), 2) for z in latents[0][:6]], "...")
print(f"lengths: mean {lengths.mean():.2f}, from {lengths.min():.2f} to {lengths.max():.2f}")
print(f"the root of {base.latent_size} is {base.latent_size**0.5:.2f}")

# %% [markdown]
# interpolation

# %%
LEFT, RIGHT = 1, 25
start, end = latents[LEFT], latents[RIGHT]
shares = torch.linspace(0, 1, 8)
straight = torch.stack([torch.lerp(start, end, share) for share in shares])
curved = torch.stack([slerp(start, end, float(share)) for share in shares])
print("lengths, straight:", [round(float(z.norm()), 1) for z in straight])
print("lengths, slerp:   ", [round(float(z.norm()), 1) for z in curved])
hasama.grid(hasama.generate_all(base, torch.cat([straight, curved])), columns=8)

# %% [markdown]
# truncation

# %%
rows = [hasama.generate_all(base, latents[[1, 4, 7, 11, 25, 31]], truncation=psi) for psi in (1.2, 1.0, 0.8, 0.5)]
hasama.grid(np.concatenate(rows), columns=6)

# %% [markdown]
# directions

# %%
from hasama.generators.directions import find_directions

found = find_directions(base, count=4)
print("shares of the variance:", [f"{share:.1%}" for share in found.shares])
ways = torch.linspace(-2.5, 2.5, 7)[:, None]
strips = torch.cat([latents[LEFT] + ways * step for step in found.steps])
hasama.grid(hasama.generate_all(base, strips), columns=7)

# %% [markdown]
# arithmetic

# %%
dark_hair = hasama.generate_all(base, latents)[:, :24].mean(axis=(1, 2, 3))  # how light the upper part is
darker = latents[dark_hair < np.quantile(dark_hair, 0.2)].mean(0) - latents[
    dark_hair > np.quantile(dark_hair, 0.8)
].mean(0)
moved = torch.cat([latents[number] + ways / 2.5 * 4 * darker / darker.norm() for number in (1, 7, 31)])
hasama.grid(hasama.generate_all(base, moved), columns=7)

# %% [markdown]
# projection

# %%
from hasama.generators.projection import best_of, project

with torch.no_grad():
    wanted = to_images(hasama.generate_all(base, hasama.draw_latents(seed=77, count=1, size=base.latent_size)))
    wanted = (0.8 * wanted + 0.15).clamp(-1, 1)  # a little lighter: no latent makes exactly this
record = list(project(base, wanted, steps=steps(40)))
best = best_of(record)
print(f"distance: {record[0].distance:.3f} at the best random latent, {best.distance:.3f} at step {best.step}")
hasama.grid(to_pixels(torch.cat([wanted, record[0].image, best.image])), columns=3, smallest=128)

# %% [markdown]
# own-picture

# %%
back = torch.cat(
    [
        best.w + ways * found.steps[0] / 2,
        torch.stack([slerp(best.w[0], start, float(s)) for s in torch.linspace(0, 1, 7)]),
    ]
)
hasama.grid(hasama.generate_all(base, back), columns=7)

# %% [markdown]
# styles

# %%
small = {"size": "16", "width": 8, "latent_size": 32, "batch": 16, "kimg": steps(1200) / 100}
quiet = {"health_kimg": 0.0, "quality_kimg": 0.0, "sample_kimg": 100.0}
recipe = hasama.RECIPES["stylegan"].but(labels=True, path_length=0.0, ema_kimg=1.0, seed=3, **small, **quiet)
for step in hasama.train("digits", recipe, "runs/styles"):
    pass
styled = hasama.load_generator("runs/styles/generator.safetensors")
print(styled.classes, "layers with styles:", styled.network.style_layers)

# %% [markdown]
# labels

# %%
z = hasama.draw_latents(seed=5, count=4, size=styled.latent_size).repeat_interleave(10, 0)
digits = torch.arange(10).repeat(4)
hasama.grid(hasama.generate_all(styled, z, digits), columns=10, smallest=32)

# %% [markdown]
# mixing

# %%
rows = to_w(styled, hasama.draw_latents(seed=5, count=4, size=styled.latent_size), torch.tensor([0, 3, 6, 8]))
columns = to_w(
    styled, hasama.draw_latents(seed=6, count=6, size=styled.latent_size), torch.tensor([1, 2, 4, 5, 7, 9])
)


def table(layers):
    """First column: rows. First row: columns. Inside: the row's styles, but in these layers the column's."""
    cells = crossed(rows, columns, layers, styled.network.style_layers)
    inside = np.concatenate(list(generate_from_w(styled, cells))).reshape(4, 6, 16, 16, 1)
    head, side = (next(generate_from_w(styled, w)) for w in (columns, rows))
    top = np.concatenate([np.zeros_like(head[:1]), head])[None]
    return hasama.grid(
        np.concatenate([top, np.concatenate([side[:, None], inside], 1)]).reshape(-1, 16, 16, 1), 7, smallest=32
    )


count = styled.network.style_layers
display(table(range(count // 2)), table(range(count // 2, count)))

# %% [markdown]
# exercises
