# %% [markdown]
# title

# %% [markdown]
# opening

# %%
os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported
import warnings

import keras
import numpy as np
from keras import layers

import hasama
from hasama.pictures.tensors import to_pixels

warnings.filterwarnings("ignore", message="The model does not have any trainable weights")
SIZE, LATENT = 16, 100
keras.config.set_image_data_format("channels_first")
keras.utils.set_random_seed(42)
pictures = hasama.open_pictures("digits", hasama.Recipe(size=str(SIZE), colour="grey"))
batches = hasama.batches(pictures, batch=32, seed=42)  # [32, 1, 16, 16] in [-1, 1]


def show(images):
    return hasama.grid(to_pixels(images.detach()), columns=10, smallest=32)


print("Keras", keras.__version__, "on", keras.backend.backend())
show(next(batches).images[:20])

# %% [markdown]
# dense


# %%
def dense_generator():
    stack = [keras.Input((LATENT,))]
    for units in (256, 512, 1024):
        stack += [layers.Dense(units), layers.LeakyReLU(0.2), layers.BatchNormalization(momentum=0.8)]
    return keras.Sequential([*stack, layers.Dense(SIZE * SIZE, "tanh"), layers.Reshape((1, SIZE, SIZE))])


def dense_discriminator(last="sigmoid"):
    hidden = [layers.Dense(512), layers.LeakyReLU(0.2), layers.Dense(256), layers.LeakyReLU(0.2)]
    return keras.Sequential([keras.Input((1, SIZE, SIZE)), layers.Flatten(), *hidden, layers.Dense(1, last)])


def adam():
    return keras.optimizers.Adam(2e-4, beta_1=0.5, weight_decay=8e-9)


def noise(count):
    return keras.random.normal((count, LATENT))


fixed = noise(20)

# %% [markdown]
# idiom


# %%
def compiled(generator, discriminator):
    """The classic idiom: the discriminator alone, and the generator through the frozen discriminator."""
    discriminator.compile(adam(), "binary_crossentropy")  # an optimizer for each model
    adversarial = keras.Sequential([keras.Input((LATENT,)), generator, discriminator])
    adversarial.compile(adam(), "binary_crossentropy")
    return adversarial


def round_of(generator, discriminator, adversarial, freeze=True):
    """Both stages, for one batch: gives the two losses."""
    real = next(batches).images[:16]
    both = keras.ops.concatenate([real, generator(noise(16), training=True)])
    wanted = np.array([[1.0]] * 16 + [[0.0]] * 16, np.float32)
    discriminator.trainable = True  # in Keras 3 this counts at once, whatever was compiled
    d = discriminator.train_on_batch(keras.ops.stop_gradient(both), wanted)
    if freeze:
        discriminator.trainable = False
    g = adversarial.train_on_batch(noise(32), np.ones((32, 1), np.float32))
    return float(d), float(g)


generator, discriminator = dense_generator(), dense_discriminator()
adversarial = compiled(generator, discriminator)
for number in range(1, steps(800) + 1):
    d_loss, g_loss = round_of(generator, discriminator, adversarial)
    if number % 200 == 0:
        print(f"step {number}: [Discriminator :: {d_loss:.3f}], [Generator :: {g_loss:.3f}]")
show(generator(fixed, training=False))

# %% [markdown]
# trap


# %%
def moved(model, before):
    """How far a model's weights that can learn are from what they were."""
    return float(sum(((now - was) ** 2).sum() for now, was in zip(model.get_weights(), before, strict=True)) ** 0.5)


discriminator.trainable = False
adversarial.train_on_batch(noise(4), np.ones((4, 1), np.float32))
before = discriminator.get_weights()
adversarial.train_on_batch(noise(32), np.ones((32, 1), np.float32))
print(f"frozen, the generator's turn:           the discriminator moves by {moved(discriminator, before):.4f}")

before = discriminator.get_weights()
discriminator.train_on_batch(next(batches).images, np.ones((32, 1), np.float32))
print(f"still frozen, the discriminator's turn: the discriminator moves by {moved(discriminator, before):.4f}")

discriminator.trainable = True
before = discriminator.get_weights()
discriminator.train_on_batch(next(batches).images, np.ones((32, 1), np.float32))
print(f"trainable again, its turn:              the discriminator moves by {moved(discriminator, before):.4f}")

# %% [markdown]
# one-optimizer

# %%
shared = adam()
first, second = dense_discriminator(), dense_generator()
first.compile(shared, "binary_crossentropy")
first.train_on_batch(next(batches).images, np.ones((32, 1), np.float32))
second.compile(shared, "mse")
try:
    second.train_on_batch(noise(32), next(batches).images)
    print("One optimizer served two models.")
except (ValueError, KeyError) as error:
    print(type(error).__name__ + ":", str(error).partition(", shape")[0])

# %% [markdown]
# batchnorm

# %%
norm = layers.BatchNormalization()
data = 5 + keras.random.normal((64, 3))
for trainable in (True, False):
    norm.trainable = trainable
    out = norm(data, training=True)
    print(f"trainable={trainable!s:5}: mean {out.mean().item():.2f}, deviation {out.std().item():.2f}")

# %% [markdown]
# conv


# %%
def conv_generator():
    side = SIZE // 4
    stack = [keras.Input((LATENT,)), layers.Dense(64 * side * side), layers.LeakyReLU(0.2)]
    stack += [layers.Reshape((64, side, side)), layers.BatchNormalization(axis=1, momentum=0.8)]
    for channels in (64, 32):
        stack += [layers.UpSampling2D(), layers.Conv2DTranspose(channels, 3, padding="same")]
        stack += [layers.LeakyReLU(0.2), layers.BatchNormalization(axis=1, momentum=0.8)]
    return keras.Sequential([*stack, layers.Conv2DTranspose(1, 3, padding="same", activation="tanh")])


def conv_discriminator():
    stack = [keras.Input((1, SIZE, SIZE))]
    for channels in (32, 64):
        stack += [layers.Conv2D(channels, 4, 2, "same"), layers.LeakyReLU(0.2), layers.Dropout(0.25)]
    return keras.Sequential([*stack, layers.Flatten(), layers.Dense(1)])


# %% [markdown]
# same-loop

# %%
keras.utils.set_random_seed(42)
pair = hasama.Pair(conv_generator(), conv_discriminator(), latent_size=LATENT)
recipe = hasama.Recipe(generator_lr=1e-3, discriminator_lr=1e-3, ema_kimg=1.0, ema_rampup=1.0, precision="fp32")
game = hasama.new_game(pair, recipe)
for number, step in enumerate(hasama.play(game, (next(batches) for _ in range(steps(600)))), 1):
    if number % 200 == 0:
        told = step.figures()
        print(f"step {number}: D {told['loss_discriminator']:.3f}, G {told['loss_generator']:.3f}")
trained = hasama.TrainedGenerator(game.sampling_generator, None, LATENT, channels=1)
hasama.grid(trained.generate(hasama.draw_latents(1, 30, LATENT)), columns=10, smallest=32)

# %% [markdown]
# save

# %%
import torch

pair.generator.save("generator.keras")
again = keras.models.load_model("generator.keras")
latents = hasama.draw_latents(1, 10, LATENT)
with torch.no_grad():
    same = torch.allclose(again(latents, training=False), pair.generator(latents, training=False))
print("the saved generator makes the same pictures:", same)

# %% [markdown]
# exercises
