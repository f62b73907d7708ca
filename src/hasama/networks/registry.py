"""The architectures, and how a recipe becomes a pair of networks."""

from collections.abc import Callable

from hasama.device import check_default_dtype
from hasama.errors import HasamaError
from hasama.networks.architectures.dcgan import DCGAN
from hasama.networks.architectures.dense import Dense
from hasama.networks.architectures.fast import Fast
from hasama.networks.architectures.msg import MSG
from hasama.networks.architectures.progressive import Progressive
from hasama.networks.architectures.r3gan import R3GAN
from hasama.networks.architectures.stylegan import StyleGAN
from hasama.networks.architectures.vae import VAE
from hasama.networks.enlarger import with_enlarger
from hasama.networks.layers import normalise_spectrally
from hasama.networks.pair import Config, Pair
from hasama.options import ImpossibleSizeError
from hasama.presets import as_recipe
from hasama.recipe import Recipe
from hasama.shares import own_random_numbers

ARCHITECTURES: dict[str, Callable[[Recipe], Config]] = {
    "dcgan": lambda r: DCGAN(r.width, r.latent_size, r.discriminator_norm, r.dropout),
    "dense": lambda r: Dense(r.width, r.latent_size, r.dropout, r.discriminator_layers, r.generator_norm),
    "vae": lambda r: VAE(r.width, r.latent_size),
    "progressive": lambda r: Progressive(r.width, r.latent_size, r.grow_kimg * 1000),
    "msg": lambda r: MSG(r.width, r.latent_size),
    "stylegan": lambda r: StyleGAN(r.width, r.latent_size, r.mapping_layers, r.style_mixing, r.path_length),
    "r3gan": lambda r: R3GAN(
        *(r.width, r.latent_size, r.resampling, r.group_width, r.pixel_noise),
        *(r.width_of_generator, r.generator_blocks, r.generator_attention, r.self_modulation),
        *(r.minibatch_std, r.clip_output),
    ),
    "fast": lambda r: Fast(r.width, r.latent_size, r.reconstruction),
}
"""By name: how a recipe's fields become an architecture's config. A recipe takes no other names, so that nothing can
be added here from outside; networks of one's own go to `hasama.new_game` as a `Pair`.
"""


def build(recipe: Recipe | str, channels: int = 3, classes: int = 0) -> Pair:
    """The pair of networks that a recipe describes, with first weights drawn from its seed.

    Args:
        recipe: its fields about the networks count here; or the name of a preset.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        classes: number of classes; 0 for none.

    Raises:
        HasamaError: the architecture cannot make pictures of that size, or there are none of so many channels; or
            torch's default numbers are not float32.
    """
    check_default_dtype()
    recipe = as_recipe(recipe)
    if channels < 1 or classes < 0:
        raise HasamaError(f"Pictures have 1, 3 or 4 channels, and 0 classes or more; got {channels} and {classes}.")
    config = ARCHITECTURES[recipe.architecture](recipe)
    with own_random_numbers(recipe.seed, cards=True):
        pair = _built(config.build, recipe, channels, classes)._replace(classes=classes)
        if recipe.spectral_norm:
            normalise_spectrally(pair.discriminator)
        return with_enlarger(pair, recipe.enlarge) if recipe.enlarge > 1 else pair


def _built(build_pair: Callable[..., Pair], recipe: Recipe, channels: int, classes: int) -> Pair:
    """The pair for the pictures that the networks are trained on."""
    try:
        return build_pair(recipe.game_resolution, channels, classes)
    except ImpossibleSizeError as error:
        if recipe.enlarge == 1:
            raise
        small = f"these are the small pictures of --enlarge {recipe.enlarge}"
        raise error.of_smaller_ones(recipe.enlarge, small) from error
