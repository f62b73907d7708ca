# %% [markdown]
# title

# %% [markdown]
# opening

# %% [markdown]
# pictures

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageDraw

import hasama
from hasama.pictures.images import fit_picture
from hasama.pictures.tensors import to_images, to_pixels

SIZE = 96  # 256 with a graphics card, or with patience
CONTENT, STYLE = None, None  # or your own: CONTENT = "cat.jpg"


def house(size=512):
    """What is painted: a house, a tree and the sun."""
    picture = Image.new("RGB", (size, size), (150, 195, 235))
    draw = ImageDraw.Draw(picture)
    s = size / 100
    for x, y, r, colour in (
        (78, 20, 10, (250, 220, 90)),
        (30, 118, 60, (120, 170, 90)),
        (85, 125, 60, (95, 150, 80)),
    ):
        draw.ellipse([(x - r) * s, (y - r) * s, (x + r) * s, (y + r) * s], fill=colour)
    draw.rectangle([22 * s, 45 * s, 58 * s, 78 * s], fill=(225, 200, 170))
    draw.polygon([(16 * s, 46 * s), (40 * s, 22 * s), (64 * s, 46 * s)], fill=(160, 60, 50))
    draw.rectangle([35 * s, 58 * s, 45 * s, 78 * s], fill=(90, 60, 45))
    for x in (26, 48):
        draw.rectangle([x * s, 52 * s, (x + 7) * s, 60 * s], fill=(70, 100, 140))
    draw.rectangle([76 * s, 55 * s, 80 * s, 80 * s], fill=(100, 70, 45))
    draw.ellipse([67 * s, 32 * s, 90 * s, 60 * s], fill=(50, 110, 60))
    return picture


def strokes(size=512, count=6000, seed=3):
    """A style: short strokes of a brush along whirls, in blue and yellow."""
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (size, size), (25, 40, 90))
    draw = ImageDraw.Draw(picture)
    for x, y, choice, shade in random.random((count, 4)):
        angle = 3 * math.sin(6 * x + 1) + 3 * math.cos(5 * y) + 0.4 * random.standard_normal()
        light = math.sin(6 * x + 1) * math.cos(5 * y) > 0.25
        base = np.array(
            (225, 190, 70) if light and choice < 0.85 else (40, 80, 160) if choice < 0.8 else (150, 190, 215)
        )
        dx, dy = 0.025 * size * math.cos(angle), 0.025 * size * math.sin(angle)
        ends = [x * size - dx, y * size - dy, x * size + dx, y * size + dy]
        draw.line(ends, tuple(int(c) for c in np.clip(base * (0.65 + 0.6 * shade), 0, 255)), size // 90)
    return picture


def opened(path, drawn):
    """Your picture or the drawn one, [1, 3, 96, 96] in [-1, 1]."""
    picture = Image.open(path).convert("RGB") if path else drawn()
    return to_images(np.array(fit_picture(picture, (SIZE, SIZE)))[None])


def show(*images):
    return hasama.grid(to_pixels(torch.cat(images).detach().clamp(-1, 1)), columns=len(images), smallest=2 * SIZE)


content, style = opened(CONTENT, house), opened(STYLE, strokes)
show(content, style)

# %% [markdown]
# features

# %%
from hasama.perception.vgg import VGG
from hasama.perception.vgg_weights import load_weights

weights = load_weights()  # VGG19 as it was published; it came with the installation


def network(*layers):
    """The layers of VGG19 up to the last one that is asked for; frozen."""
    return VGG(weights, layers, pooling="average")


with torch.no_grad():
    for name, maps in network("relu1_1", "relu2_1", "relu3_1", "relu4_1")(content).items():
        print(name, list(maps.shape))

# %% [markdown]
# optimising

# %%
OPTIMIZERS = {"gradient descent": torch.optim.SGD, "adam": torch.optim.Adam, "l-bfgs": torch.optim.LBFGS}


def paint(loss, start, count, name="l-bfgs", **options):
    """Change the pixels until the loss is small; gives the picture, and the loss after each step."""
    canvas, losses = start.clone().requires_grad_(), []

    def closure():
        value = loss(canvas)
        canvas.grad = torch.autograd.grad(value, canvas)[0].contiguous()  # the gradient of the pixels alone
        losses.append(value.item())
        return value

    if name == "l-bfgs":  # it calls the closure by itself
        optimizer = torch.optim.LBFGS([canvas], max_iter=count, max_eval=count, tolerance_change=0, tolerance_grad=0)
        optimizer.step(closure)
    else:
        optimizer = OPTIMIZERS[name]([canvas], **options)
        for _ in range(count):
            optimizer.step(closure)
    return canvas.detach(), losses


torch.manual_seed(0)
start = torch.rand_like(content) * 2 - 1  # uniform noise

# %% [markdown]
# content


# %%
def content_loss(*layers):
    """Squared differences of the features, place by place, as a share of the wanted ones' squares."""
    vgg = network(*layers)
    wanted = {name: maps.detach() for name, maps in vgg(content).items()}

    def loss(canvas):
        found = vgg(canvas)
        shares = [(found[name] - wanted[name]).square().mean() / wanted[name].square().mean() for name in wanted]
        return sum(shares) / len(shares)

    return loss


rebuilt = [paint(content_loss(layer), start, steps(40))[0] for layer in ("relu1_2", "relu2_2", "relu3_2", "relu4_2")]
show(*rebuilt)

# %% [markdown]
# several-layers

# %%
seen = []
adam = {"name": "adam", "lr": 0.1, "betas": (0.9, 0.99)}
canvas = start
for _ in range(3):
    canvas, _ = paint(content_loss("relu3_2", "relu4_2"), canvas, steps(15), **adam)
    seen.append(canvas)
show(*seen)

# %% [markdown]
# gram


# %%
def gram(maps):
    """For every two channels, how strongly they are active together; a mean over all places: [C, C]."""
    return torch.einsum("nchw,ndhw->cd", maps, maps) / (maps.shape[2] * maps.shape[3])


def style_loss(*layers):
    """Squared differences of the Gram matrices, as a share of the wanted ones' squares."""
    vgg = network(*layers)
    wanted = {name: gram(maps.detach()) for name, maps in vgg(style).items()}

    def loss(canvas):
        found = {name: gram(maps) for name, maps in vgg(canvas).items()}
        shares = [(found[name] - wanted[name]).square().mean() / wanted[name].square().mean() for name in wanted]
        return sum(shares) / len(shares)

    return loss


STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
show(*[paint(style_loss(*STYLE_LAYERS[:count]), start, steps(40), **adam)[0] for count in (1, 2, 3, 4)])

# %% [markdown]
# variation


# %%
def variation(canvas):
    """Mean absolute difference between neighbours; absolute, so that edges may stay sharp."""
    down, across = canvas.diff(dim=2), canvas.diff(dim=3)
    return down.abs().mean() + across.abs().mean()


for name, picture in (("content", content), ("style", style), ("noise", start)):
    print(f"variation of the {name}: {variation(picture):.3f}")

# %% [markdown]
# weighted-sum

# %%
of_content, of_style = content_loss("relu4_2"), style_loss(*STYLE_LAYERS)


def total(canvas, content_weight=1.0, style_weight=3.0, variation_weight=0.3):
    """The weighted sum of the three."""
    terms = of_content(canvas), of_style(canvas), variation(canvas)
    return content_weight * terms[0] + style_weight * terms[1] + variation_weight * terms[2]


torch.manual_seed(0)
noisy = (content + torch.empty_like(content).uniform_(-0.3, 0.3)).clamp(-1, 1)
ways = {"gradient descent": {"lr": 300.0}, "adam": {"lr": 0.05}, "l-bfgs": {}}
painted = {name: paint(total, noisy, steps(50), name, **options) for name, options in ways.items()}
plt.figure(figsize=(5, 2.2))
for name, (_, losses) in painted.items():
    plt.plot(losses, label=name)
plt.legend()
plt.show()
show(*[picture for picture, _ in painted.values()])

# %% [markdown]
# weights

# %%
less, more = 0.3, 30.0
show(*[paint(lambda canvas, w=w: total(canvas, style_weight=w), noisy, steps(40))[0] for w in (less, more)])

# %% [markdown]
# recipes

# %%
for name, drawn, given in (("content.png", house, CONTENT), ("style.png", strokes, STYLE)):
    (Image.open(given).convert("RGB") if given else drawn()).save(name)

small = {"size": 2 * SIZE, "smallest": SIZE, "first_iterations": steps(40), "iterations": steps(15)}
sketch = hasama.STYLE_RECIPES["sketch"].but(**small)
for frame in hasama.stylize("content.png", "style.png", sketch):
    pass
print({name: round(loss, 3) for name, loss in frame.losses.items()})
frame.picture

# %% [markdown]
# neighbour

# %%
neighbour = hasama.STYLE_RECIPES["neighbour"].but(
    size=144, smallest=72, first_iterations=steps(25), iterations=steps(15), rotations=False
)
for frame in hasama.stylize("content.png", "style.png", neighbour):
    pass
frame.picture

# %% [markdown]
# instant

# %%
instant = hasama.STYLE_RECIPES["instant"].but(size=2 * SIZE)
for frame in hasama.stylize("content.png", "style.png", instant):
    pass
frame.picture.save("painted.png")
frame.picture

# %% [markdown]
# own-picture
