"""Everything that decides how a run goes, in one frozen dataclass.

The same fields are the defaults, the command's flags, `recipe.json` and the studio's form. This module
does not import torch, so that `hasama --help` is quick.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from hasama.errors import HasamaError
from hasama.fields import KIMG_LEAST, check_together, first_gamma, first_vision_gamma, idle_fields, new_names
from hasama.options import check_fields, flag, option, parse_size, smaller_size, unknown_name

Architecture = Literal["dcgan", "dense", "vae", "progressive", "msg", "stylegan", "r3gan", "fast"]
Objective = Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"]
Penalty = Literal["none", "r1", "r2", "r1+r2", "wgan-gp"]
BalanceName = Literal["always", "skip-strong", "critic-steps"]
Augmentation = Literal["none", "diffaugment", "ada"]
Fit = Literal["crop", "pad", "stretch"]
Colour = Literal["auto", "grey", "rgb", "rgba"]


@dataclass(frozen=True)
class Recipe:
    """How to train: the pictures' form, the two networks, the objective, the length.

    Lengths are counted in kimg, thousands of real images shown to the discriminator.

    Raises:
        HasamaError: a value is of the wrong kind, out of range, or contradicts another.
    """

    # --- pictures
    size: str = option("64", "Size of the pictures in pixels: 64, or WIDTHxHEIGHT such as 64x96.")
    enlarge: int = option(
        1, "Train on pictures 2, 4 or 8 times smaller, and enlarge what is made: far quicker above 128 pixels.", 1, 8
    )
    fit: Fit = option("crop", "How a picture of another shape is made to fit.")
    colour: Colour = option("auto", "Colour channels; auto: rgba if most files have alpha, grey if all are grey.")
    mirror: bool = option(False, "Also show each picture mirrored, half of the time.")
    labels: bool = option(False, "Learn the classes: the sub-folders' names, or an .npz file's labels.")
    only: str = option("", "Train on these classes only, with or without --labels: their names, with commas between.")
    held_out: float = option(
        0.02,
        "Share of the pictures that is held out of the training, to see whether the discriminator overfits; at most "
        "256 pictures, and none where that would be fewer than 20.",
        0,
        0.5,
    )
    # --- networks
    architecture: Architecture = option("dcgan", "The architecture of the two networks.")
    width: int = option(
        64,
        "Channels of the layer next to the picture (dcgan, vae) or of the maps at 64x64 (the others); units of the "
        "narrowest layer (dense).",
        1,
        1024,
    )
    generator_width: int | None = option(
        None, "r3gan: the generator's own width; it costs less than the discriminator's. Default: --width.", 1, 1024
    )
    generator_blocks: int = option(1, "r3gan: residual blocks of the generator at each size.", 1, 16)
    generator_attention: bool = option(False, "r3gan: places of the generator's small maps attend to each other.")
    latent_size: int = option(100, "Length of the latent z, the random vector that a picture is made from.", 1, 4096)
    generator_norm: Literal["none", "batch"] = option("none", "dense: normalisation of the generator's layers.")
    discriminator_norm: Literal["batch", "none"] = option(
        "batch", "Normalisation in dcgan's discriminator; the penalties need none."
    )
    discriminator_layers: int = option(
        3, "dense: hidden layers of the discriminator; the last has --width units, each other twice the next.", 1, 8
    )
    discriminator_dropout: float | None = option(
        None,
        "dcgan, dense: share of the units of each layer of the discriminator that dropout silences while training. "
        "Default: 0.3 in dense, 0 in dcgan.",
        0,
        0.9,
    )
    spectral_norm: bool = option(False, "Spectral normalisation of every layer of the discriminator.")
    mapping_layers: int = option(8, "stylegan: layers of the mapping network.", 1, 32)
    resampling: Literal["strided", "filtered"] = option(
        "strided",
        "r3gan: strided: the largest maps are half as large as the picture; filtered: as published, up to the full "
        "size, filtered by [1, 2, 1]: nearly twice the work.",
    )
    group_width: int = option(
        16, "r3gan: channels that its 3x3 convolutions mix; 16 as published, 1 (depthwise) for speed.", 1, 1024
    )
    pixel_noise: bool = option(
        False, "r3gan: noise for each pixel, as strong as the generator wants it there: pictures can have a grain."
    )
    self_modulation: bool = option(
        False, "r3gan: the latent scales the channels of the generator's maps of all sizes: more various pictures."
    )
    clip_output: bool = option(False, "r3gan: pictures end at black, white, clear and opaque, as saved ones do.")
    minibatch_std: bool = option(False, "r3gan: the discriminator sees how much each feature differs in a batch.")
    grow_kimg: float = option(
        35.0, "progressive: kimg that each size of pictures is trained for, the first half of it fading in.", 0
    )
    init_from: str = option("", "Begin with the weights of this run or base, of the same or a smaller size.")
    small_kimg: float = option(
        0.0, "r3gan: first so many kimg of half the size (in small/), then --kimg at rates of 0.0007 at most.", 0
    )
    freeze_d: int = option(
        0, "FreezeD: the first so many layers of the discriminator, counted from the picture, do not learn.", 0, 1000
    )
    # --- rules
    objective: Objective = option("non-saturating", "The losses that discriminator and generator minimise.")
    penalty: Penalty = option("none", "Penalty on the discriminator's gradient at the pictures.")
    gamma: float | None = option(
        None,
        "Its weight. Default: 5 for r1+r2 (more above 64x64), 10 for wgan-gp, 0.0002 * pixels / batch else.",
        0,
    )
    penalty_every: int = option(
        1, "Lazy regularisation: the penalty at only at every n-th step, with n times the weight.", 1, 1000
    )
    penalty_sigma: float = option(
        0.0,
        "The penalty by finite differences, with noise of this standard deviation on the pictures; 0: by the exact "
        "gradient.",
        0,
        1,
    )
    gamma_final: float = option(1.0, "gamma falls to this share of its value over --schedule-kimg.", 0, 1)
    path_length: float = option(0.0, "stylegan: weight of the path length penalty on the generator.", 0)
    style_mixing: float = option(
        0.9, "stylegan: share of the training pictures that mix the styles of two latents.", 0, 1
    )
    reconstruction: float = option(1.0, "fast: weight of the discriminator's reconstruction of reals.", 0)
    augment: Augmentation = option(
        "none", "Random transforms of all that the discriminator sees; of ada more and more, see --ada-target."
    )
    jitter: int = option(
        0, "All that the discriminators see is moved by up to so many pixels at random; 1 keeps a grain away.", 0, 64
    )
    checkerboard_weight: float = option(0.0, "What the generator pays for stripes of two pixels that reals lack.", 0)
    vision_aid: Literal["none", "efficientnet"] = option(
        "none", "A second discriminator, on the features of this frozen network: far better pictures for the time."
    )
    vision_weight: float = option(1.0, "Weight of the second discriminator's part in the generator's loss.", 0, 100)
    vision_gamma: float | None = option(
        None, "Weight of R1 and R2 at the features; it falls as gamma does. Default: 10 up to 64x64, then more.", 0
    )
    ada_target: float = option(0.6, "ada: the target r_t, the mean sign of the logits of reals.", 0, 1)
    ada_kimg: float = option(100.0, "ada: the transforms' probability can rise from 0 to 1 in so many kimg.", 0.001)
    ada_final: float | None = option(
        0.3, "ada with --objective relativistic: the probability to which it rises over --schedule-kimg.", 0, 1
    )
    generator_optimizer: Literal["adam", "muon"] = option("adam", "muon: Muon along matrices, Adam elsewhere.")
    generator_lr: float = option(2e-4, "The optimizer's learning rate for the generator.", 0, 1)
    discriminator_lr: float = option(2e-4, "Adam's learning rate for the discriminator.", 0, 1)
    lr_final: float = option(1.0, "Both learning rates fall to this share of their value over --schedule-kimg.", 0, 1)
    schedule_kimg: float | None = option(
        None,
        "Length of the cosine schedule by which learning rates and gamma fall, and beta2 rises; after it they stay. "
        "Default: the whole run, --kimg.",
        0.001,
    )
    generator_betas: tuple[float, float] = option((0.5, 0.999), "Adam's betas for the generator.")
    discriminator_betas: tuple[float, float] = option((0.5, 0.999), "Adam's betas for the discriminator.")
    beta2_initial: float | None = option(
        None, "Both players' beta2 begins at this, and rises to that of the betas over --schedule-kimg.", 0, 0.999999
    )
    weight_decay: float = option(
        0.0, "Adam's weight decay for both networks: this share of each weight is added to its gradient (L2).", 0, 1
    )
    balance: BalanceName = option(
        "always",
        "Who learns at each step. always: both; skip-strong: not the discriminator while it is too strong; "
        "critic-steps: the generator only at every n-th step.",
    )
    skip_above: float = option(0.9, "skip-strong: the discriminator's accuracy from which it skips its turn.", 0.5, 1)
    critic_steps: int = option(5, "critic-steps: steps of the discriminator for each step of the generator.", 1, 1000)
    label_smoothing: float = option(
        0.0, "One-sided label smoothing: the discriminator's target for reals is 1 minus this.", 0, 0.5
    )
    instance_noise: float = option(
        0.0,
        "Instance noise: standard deviation, at the start, of the noise added to what the discriminator sees.",
        0,
        2,
    )
    instance_noise_kimg: float = option(100.0, "Instance noise: it falls to nothing over this many kimg.", 0)
    ema_kimg: float = option(5.0, "EMA: half-life in kimg of the generator's exponential moving average; 0: none.", 0)
    ema_rampup: float = option(
        0.05, "EMA: the half-life is at most this share of the images seen, so that it grows with them.", 1e-6, 1
    )
    # --- length and arithmetic
    batch: int = option(64, "Pictures per step, in all processes together.", 2, 65536)
    accumulate: int = option(
        1, "Take each batch in so many parts, one after the other: a large batch in small memory.", 1, 4096
    )
    kimg: float = option(1000.0, "Length in thousands of pictures shown.", KIMG_LEAST)
    seed: int = option(0, "Seed of everything random.", 0, 2**63 - 1)
    precision: Literal["auto", "bf16", "fp32"] = option(
        "auto", "Arithmetic inside the networks; auto takes bf16 where the machine gains by it."
    )
    exact: bool = option(
        False,
        "On a graphics card take only operations that come to the same bits each time, so that a resumed run is the "
        "unbroken one; slower. A processor's always do.",
    )
    # --- record keeping
    sample_kimg: float | None = option(None, "A sample grid every so many kimg. Default: 25 in all.", 0.001)
    checkpoint_minutes: float = option(2.0, "Minutes between two checkpoints.", 0)
    health_kimg: float | None = option(
        None,
        "Measure the health of the training every so many kimg (see `hasama doctor`); 0: never. Default: 5, or 3 in "
        "runs of less than 100 kimg, but not more often than every 36 steps.",
        0,
    )
    quality_kimg: float | None = option(
        None,
        "Measure the quality (KID) every so many kimg, and keep the best generator; 0: never. Default: as often as a "
        "fortieth of the time allows, and never in runs that are too short for two looks.",
        0,
    )
    quality_features: Literal["efficientnet", "vgg19"] | None = option(
        None,
        "The frozen network whose features the quality is measured in. Default: efficientnet, but vgg19 where that "
        "helps to train.",
    )
    autopilot: bool = option(
        False, "On a serious finding go back to the last healthy state, apply the remedy, go on; three times at most."
    )

    def __post_init__(self) -> None:
        check_fields(self)
        smaller_size(self.size, self.enlarge)
        self._check_only()
        for name in ("generator_betas", "discriminator_betas"):
            if not all(0 <= beta < 1 for beta in getattr(self, name)):
                raise HasamaError(f"{flag(name)} takes two numbers from 0 up to, not including, 1.")
        check_together(vars(self), DEFAULTS)

    def _check_only(self) -> None:
        if self.only and not self.only.strip(", "):
            raise HasamaError(f"--only takes the names of classes, with commas between them; got {self.only!r}.")

    @property
    def resolution(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return parse_size(self.size)

    @property
    def game_resolution(self) -> tuple[int, int]:
        """(height, width) of the pictures that the networks are trained on: smaller with --enlarge."""
        return smaller_size(self.size, self.enlarge)

    @property
    def images(self) -> int:
        """The length in images."""
        return round(self.kimg * 1000)

    @property
    def schedule_images(self) -> float:
        """The length of the schedule in images: --schedule-kimg, or the run's own where none was given."""
        return 1000 * (self.kimg if self.schedule_kimg is None else self.schedule_kimg)

    @property
    def width_of_generator(self) -> int:
        """--generator-width, or --width where none was given."""
        return self.width if self.generator_width is None else self.generator_width

    @property
    def penalty_weight(self) -> float:
        """The weight of the penalty: --gamma, or the first guess where none was given."""
        height, width = self.game_resolution
        return first_gamma(self.penalty, height * width, self.batch) if self.gamma is None else self.gamma

    @property
    def vision_penalty_weight(self) -> float:
        """The weight of R1 and R2 at the features: --vision-gamma, or the first guess where none was given."""
        height, width = self.game_resolution
        return first_vision_gamma(height * width) if self.vision_gamma is None else self.vision_gamma

    @property
    def quality_extractor(self) -> str:
        """Whose features the quality is measured in: --quality-features, or a network that does not train."""
        return self.quality_features or ("vgg19" if self.vision_aid == "efficientnet" else "efficientnet")

    @property
    def dropout(self) -> float:
        """Dropout in the discriminator: --discriminator-dropout, or the architecture's own where none was given."""
        own = 0.3 if self.architecture == "dense" else 0.0
        return own if self.discriminator_dropout is None else self.discriminator_dropout

    def lasting(self, kimg: float) -> "Recipe":
        """A copy of another length; `progressive` grows in the same share of it. Raises HasamaError."""
        growing = {"grow_kimg": self.grow_kimg * kimg / self.kimg} if self.architecture == "progressive" else {}
        return self.but(kimg=kimg, **growing)

    def but(self, **changes: Any) -> "Recipe":
        """A copy with some fields changed, checked anew.

        Raises:
            HasamaError: there is no such field, or a value is refused.
        """
        changes = new_names(changes)
        unknown = set(changes) - set(DEFAULTS)
        if unknown:
            raise HasamaError(unknown_name(sorted(unknown)[0], DEFAULTS, "field of a recipe"))
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Recipe":
        """The inverse of `to_dict`; fields that are absent take their defaults.

        So do those that mean nothing beside the others: they may hold the default of the version that wrote them.

        Raises:
            HasamaError: there is no such field, or a value is refused.
        """
        fields = new_names(fields)
        idle = idle_fields(DEFAULTS | _known(fields))
        kept = {name: value for name, value in fields.items() if name not in idle}
        return dataclasses.replace(cls(), **{k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()})

    def differences(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """{field: (here, there)} for the fields in which two recipes differ."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in DEFAULTS}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _known(fields: Any) -> dict[str, Any]:
    if not isinstance(fields, dict):
        raise HasamaError(f"A recipe is an object of fields and values; got {fields!r:.80}.")
    for name in fields:
        if name not in DEFAULTS:
            raise HasamaError(unknown_name(name, DEFAULTS, "field of a recipe"))
    return fields


DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Recipe)}
