"""What the recipe's fields mean beside each other: which need another, their groups, and what they were called."""

from collections.abc import Collection, Mapping
from typing import Any

from hasama.errors import HasamaError
from hasama.options import flag

KIMG_LEAST, KIMG_MOST = 0.001, 1e9
"""The shortest training: one picture; and the longest: as many as nobody has time for."""

MEANS_NOTHING_WITHOUT: dict[str, tuple[str, tuple[str, ...]]] = {
    "gamma": ("penalty", ("r1", "r2", "r1+r2", "wgan-gp")),
    "gamma_final": ("penalty", ("r1", "r2", "r1+r2", "wgan-gp")),
    "penalty_every": ("penalty", ("r1", "r2", "r1+r2", "wgan-gp")),
    "penalty_sigma": ("penalty", ("r1", "r2", "r1+r2")),
    "generator_norm": ("architecture", ("dense",)),
    "discriminator_layers": ("architecture", ("dense",)),
    "discriminator_dropout": ("architecture", ("dcgan", "dense")),
    "mapping_layers": ("architecture", ("stylegan",)),
    "path_length": ("architecture", ("stylegan",)),
    "style_mixing": ("architecture", ("stylegan",)),
    "generator_width": ("architecture", ("r3gan",)),
    "generator_blocks": ("architecture", ("r3gan",)),
    "generator_attention": ("architecture", ("r3gan",)),
    "resampling": ("architecture", ("r3gan",)),
    "group_width": ("architecture", ("r3gan",)),
    "pixel_noise": ("architecture", ("r3gan",)),
    "self_modulation": ("architecture", ("r3gan",)),
    "minibatch_std": ("architecture", ("r3gan",)),
    "clip_output": ("architecture", ("r3gan",)),
    "grow_kimg": ("architecture", ("progressive",)),
    "small_kimg": ("architecture", ("r3gan",)),
    "reconstruction": ("architecture", ("fast",)),
    "vision_weight": ("vision_aid", ("efficientnet",)),
    "vision_gamma": ("vision_aid", ("efficientnet",)),
    "ada_target": ("augment", ("ada",)),
    "ada_kimg": ("augment", ("ada",)),
    "ada_final": ("augment", ("ada",)),
    "skip_above": ("balance", ("skip-strong",)),
    "critic_steps": ("balance", ("critic-steps",)),
}
"""Fields that only do something together with a value of another: silence would be a lie."""

MEANS_NOTHING_AT_ZERO: dict[str, str] = {
    "instance_noise_kimg": "instance_noise",
    "ema_rampup": "ema_kimg",
    "gamma_final": "gamma",
    "penalty_every": "gamma",
    "penalty_sigma": "gamma",
    "quality_features": "quality_kimg",
}
"""Fields that do nothing where another is 0."""

GANS_ONLY = (
    *("objective", "penalty", "balance", "label_smoothing", "instance_noise", "labels", "checkerboard_weight"),
    *("spectral_norm", "augment", "jitter", "init_from", "freeze_d", "vision_aid", "accumulate"),
)
"""Fields that do nothing without a discriminator, and so cannot be set for a vae."""

GROUPS: dict[str, tuple[str, ...]] = {
    "Most used": (
        *("size", "enlarge", "kimg", "batch", "mirror", "labels", "augment", "init_from", "autopilot", "seed"),
    ),
    "Pictures": ("only", "fit", "colour", "held_out"),
    "Networks": (
        *("architecture", "width", "generator_width", "generator_blocks", "generator_attention", "latent_size"),
        *("discriminator_norm", "spectral_norm", "mapping_layers", "resampling", "group_width", "pixel_noise"),
        *("self_modulation", "clip_output", "minibatch_std", "grow_kimg", "small_kimg", "freeze_d", "ema_kimg"),
        *("ema_rampup", "generator_norm", "discriminator_layers", "discriminator_dropout"),
    ),
    "Objective": (
        *("objective", "label_smoothing", "penalty", "gamma", "gamma_final", "penalty_every", "penalty_sigma"),
        *("vision_aid", "vision_weight", "vision_gamma", "checkerboard_weight"),
        *("path_length", "style_mixing", "reconstruction"),
    ),
    "Learning rates": (
        *("generator_optimizer", "generator_lr", "discriminator_lr", "lr_final", "schedule_kimg", "generator_betas"),
        *("discriminator_betas", "beta2_initial", "weight_decay"),
    ),
    "Balance": ("balance", "skip_above", "critic_steps"),
    "Augmentation": ("jitter", "ada_target", "ada_kimg", "ada_final", "instance_noise", "instance_noise_kimg"),
    "Length, arithmetic, records": (
        *("precision", "exact", "accumulate", "sample_kimg", "checkpoint_minutes"),
        *("health_kimg", "quality_kimg", "quality_features"),
    ),
}
"""All fields by what they are about, those that people need first at the top: for the help, and for forms."""

RENAMED: dict[str, str] = {
    "held_back": "held_out",
    "like": "init_from",
    "probe_kimg": "health_kimg",
    "referee": "balance",
    "strong": "skip_above",
}
"""What fields were called in version 0.1.0 -> what they are called now: old recipes, flags and sweeps still load."""

BEFORE_THEY_WERE: dict[str, Any] = {
    "held_out": 0.0, "schedule_kimg": 1000.0, "jitter": 0, "pixel_noise": False, "ada_final": None,
    "vision_gamma": 1.0, "clip_output": False, "checkerboard_weight": 0.0,
}  # fmt: skip
"""What held in the runs of older versions, which did not know these fields or had another default for them."""


def new_names(fields: Any) -> Any:
    """The same fields by today's names; of two names of one field the later counts."""
    return {RENAMED.get(name, name): value for name, value in fields.items()} if isinstance(fields, dict) else fields


def idle_fields(fields: Mapping[str, Any]) -> set[str]:
    """The fields that do nothing beside the others."""
    idle = {name for name in (*MEANS_NOTHING_WITHOUT, *MEANS_NOTHING_AT_ZERO) if needs(name, fields)}
    if ada_rises(fields):
        idle |= {"ada_target", "ada_kimg"}
    elif fields["objective"] != "relativistic":
        idle |= {"ada_final"}
    at_work = {name: value for name, value in fields.items() if name not in idle}
    return idle if follows_schedule(at_work) else idle | {"schedule_kimg"}


def comparable(fields: Any, defaults: Mapping[str, Any]) -> Any:
    """A stored recipe, of any version, so that it can be compared: what its version did not know has its old value.

    Without the network that measures the quality, whose default has another name since there is a choice.
    """
    if not isinstance(fields, dict):
        return fields
    full = {**defaults, **BEFORE_THEY_WERE, **new_names(fields)}
    return {n: list(v) if isinstance(v, tuple) else v for n, v in full.items() if n != "quality_features"}


def _check_parts(fields: Mapping[str, Any]) -> None:
    """Whether a batch can be taken in parts, and its pictures apart, as a penalty does.

    Raises:
        HasamaError: it cannot.
    """
    batch, parts = fields["batch"], fields["accumulate"]
    if batch % parts or batch == parts > 1:
        raise HasamaError(
            f"--accumulate {parts} takes a batch in parts of at least two pictures, all of the same size; --batch "
            f"{batch} cannot be divided so."
        )
    if parts > 1 and fields["balance"] == "skip-strong":
        raise HasamaError(
            "--balance skip-strong decides by the whole batch whether the discriminator learns from it: it goes with "
            "--accumulate 1 only."
        )
    if fields["architecture"] == "dcgan" and fields["penalty"] != "none" and fields["discriminator_norm"] == "batch":
        raise HasamaError(
            f"The penalty {fields['penalty']} looks at one picture at a time, but BatchNorm mixes the pictures of a "
            "batch: add --discriminator-norm none."
        )


def _check_records(fields: Mapping[str, Any]) -> None:
    """Whether what is to be measured can be, and says something.

    Raises:
        HasamaError: the autopilot without what it goes by, or a judge that helps to train.
    """
    if fields["autopilot"] and fields["health_kimg"] == 0:
        raise HasamaError("--autopilot goes by the measured health: it needs --health-kimg above 0.")
    if fields["vision_aid"] != "none" and fields["vision_aid"] == fields["quality_features"]:
        raise HasamaError(
            f"--quality-features {fields['quality_features']} would judge by the network that helps to train "
            "(--vision-aid): what has been trained with one network is judged by another."
        )


def _check_smoothing(fields: Mapping[str, Any]) -> None:
    """Whether reals have a target that can be smoothed.

    Raises:
        HasamaError: they have none.
    """
    if fields["label_smoothing"] and fields["objective"] not in ("minimax", "non-saturating", "least-squares"):
        raise HasamaError(
            "--label-smoothing needs an objective with a target for reals (minimax, non-saturating, least-squares); "
            f"{fields['objective']} has none."
        )


def _check_schedules(fields: Mapping[str, Any]) -> None:
    """Whether what is to rise rises, and what is to last lasts.

    Raises:
        HasamaError: beta2 would fall, or the stage of half the size has no length.
    """
    initial, last = fields["beta2_initial"], min(fields["generator_betas"][1], fields["discriminator_betas"][1])
    if initial is not None and initial > last:
        raise HasamaError(
            f"--beta2-initial {initial:g} is more than the {last:g} of the betas, to which it is to rise."
        )
    for name in ("kimg", "small_kimg"):
        if fields[name] > KIMG_MOST:
            raise HasamaError(f"{flag(name)} must be at most {KIMG_MOST:g}; got {fields[name]:g}.")
    if 0 < fields["small_kimg"] < KIMG_LEAST:
        raise HasamaError(f"--small-kimg must be 0 or at least {KIMG_LEAST:g}; got {fields['small_kimg']:g}.")


def _check_idle(fields: Mapping[str, Any], given: Collection[str]) -> None:
    """Whether all that was given does something.

    Raises:
        HasamaError: something does not.
    """
    for name in given:
        if needed := needs(name, fields):
            raise HasamaError(f"{flag(name)} means nothing without {needed}.")
    for name in ("ada_target", "ada_kimg"):
        if name in given and ada_rises(fields):
            raise HasamaError(
                f"{flag(name)} means nothing with --objective relativistic, whose logits have no zero: there ada's "
                "probability rises to --ada-final."
            )
    if "ada_final" in given and not ada_rises(fields) and fields["ada_final"] is not None:
        raise HasamaError("--ada-final means nothing without --objective relativistic: else --ada-target steers ada.")


def check_together(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse what contradicts itself, and what does nothing beside the other fields.

    Raises:
        HasamaError: two fields that cannot go together, or one that differs from its default and would be ignored.
    """
    _check_parts(fields)
    _check_records(fields)
    _check_schedules(fields)
    _check_smoothing(fields)
    given = [name for name, value in fields.items() if value != defaults[name]]
    if fields["architecture"] == "vae":
        for name in GANS_ONLY:
            if name in given:
                raise HasamaError(
                    f"A vae has neither a discriminator nor classes: {flag(name)} does not apply to it."
                )
    _check_idle(fields, given)
    if "schedule_kimg" in given and not follows_schedule(fields):
        raise HasamaError(
            "--schedule-kimg means nothing without --lr-final or --gamma-final below 1, --beta2-initial, or "
            "--augment ada with --objective relativistic."
        )


def follows_schedule(fields: Mapping[str, Any]) -> bool:
    """Whether anything changes over --schedule-kimg in a recipe of these fields."""
    falls = fields.get("lr_final", 1) != 1 or fields.get("gamma_final", 1) != 1
    return falls or fields.get("beta2_initial") is not None or ada_rises(fields)


def ada_rises(fields: Mapping[str, Any]) -> bool:
    """Whether ada's probability follows the schedule, in place of what the discriminator says.

    ADA goes by the share of reals whose logit is positive. A relativistic discriminator's logits mean something only
    beside each other, and it may be right of nearly all pairs without having learnt one picture by heart: steered by
    that, ada disturbs it until it cannot tell a collapsed generator from pictures (docs/experiments/on-a-card.md).
    """
    relativistic = fields.get("augment") == "ada" and fields.get("objective") == "relativistic"
    return relativistic and fields.get("ada_final") is not None


def counts(name: str, recipe: Any) -> bool:
    """Whether a field does anything beside the recipe's others."""
    return not needs(name, vars(recipe))


def needs(name: str, fields: Mapping[str, Any]) -> str:
    """Without what a field does nothing beside these; '' if it does something."""
    if name == "gamma_final" and fields["vision_aid"] != "none" and fields["vision_gamma"] != 0:
        return ""  # the weight of the penalties at the features falls with gamma, be there others or not
    needed, values = MEANS_NOTHING_WITHOUT.get(name, ("batch", (fields["batch"],)))
    if fields[needed] not in values:
        *others, last = map(str, values)
        return f"{flag(needed)} {', '.join(others)} or {last}" if others else f"{flag(needed)} {last}"
    zero = MEANS_NOTHING_AT_ZERO.get(name)
    return f"{flag(zero)} above 0" if zero and fields[zero] == 0 else ""


def first_gamma(penalty: str, pixels: int, batch: int) -> float:
    """The weight of a penalty where none was given.

    For R1 or R2 the heuristic of Karras et al. 2020 (StyleGAN2-ADA), appendix C; for the gradient penalty the 10 of
    Gulrajani et al. 2017, algorithm 1. Two penalties, and a relativistic loss, bear and need more: 5 up to 64x64,
    where Huang et al. 2024 begin with 2 for a far larger network. (At 32x32 dcgan's networks collapsed on handwritten
    digits with the heuristic's 0.003, and with 0.05; with 1.25 they learnt four times as slowly.)
    """
    if penalty == "r1+r2":
        return 5 * max(1, pixels / 64**2)
    return 10.0 if penalty == "wgan-gp" else 0.0002 * pixels / batch


def first_vision_gamma(pixels: int) -> float:
    """The weight of R1 and R2 at the features where none was given: 10, and more for more than 64x64 pixels.

    The heads take means over places, so that of n times as many each one's gradient is an n-th, and the sum of their
    squares, too: n times the weight forbids as much (docs/experiments/ten-minutes.md).
    """
    return 10 * max(1, pixels / 64**2)
