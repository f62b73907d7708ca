"""A game in the plane, step by step: the very `play` that trains pictures, on points that one can see all of.

After GAN Lab (Kahng et al. 2018): real and generated points, the discriminator as a map of what it holds for real,
the generator as a grid that it bends, and arrows that say where the discriminator sends each generated point.
"""

import math
import secrets
import threading
from collections import OrderedDict
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from hasama.errors import HasamaError
from hasama.evaluation.coverage import Plane
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import draw_latents
from hasama.metrics.modes import MIXTURES, Mixture, as_images, draw_points
from hasama.networks.architectures.points import PointNetworks
from hasama.recipe import Objective, Penalty, Recipe
from hasama.shares import own_random_numbers
from hasama.training.game import Rules
from hasama.training.rules.balance import Balance
from hasama.training.setup import new_game
from hasama.training.turns import play

KEPT = 64
"""Games in memory at once."""
SHOWN, HEAT, GRID, ARROWS = 200, 28, 13, 48
"""Points that are shown, sides of the map and of the grid, arrows."""
VIEW = 1.6
"""What is shown reaches from -VIEW to VIEW in the networks' coordinates."""
STEPS_MOST, DRAWN_MOST, DRAWN_REACH = 200, 400, 10
LARGEST_NUMBER = 2**31
"""Of all settings: also of the seed."""
WIDTH, BATCH = 64, 128
WHO = ("both", "discriminator", "generator")


class Settings(NamedTuple):
    """What is chosen in the page; the first four begin a game anew, the others change it as it is."""

    data: str = "ring"
    latent_size: int = 2
    seed: int = 0
    points: tuple[tuple[float, float], ...] = ()
    objective: str = "non-saturating"
    penalty: str = "none"
    gamma: float = 0.1
    generator_lr: float = 1e-3
    discriminator_lr: float = 1e-3
    critic_steps: int = 1

    @classmethod
    def of(cls, asked: dict[str, Any]) -> "Settings":
        """From JSON.

        Raises:
            HasamaError: a value is impossible.
        """
        try:
            known = {name: value for name, value in asked.items() if name in cls._fields}
            points = tuple((float(x), float(y)) for x, y in known.pop("points", ()))
            kinds = {name: type(default) for name, default in cls._field_defaults.items() if name != "points"}
            found = cls(points=points, **{name: kinds[name](value) for name, value in known.items()})
        except (TypeError, ValueError, OverflowError) as error:
            raise HasamaError("These settings do not read as numbers.") from error
        numbers = [*found[1:3], *found[6:], *(one for point in points for one in point)]
        if not all(abs(number) < LARGEST_NUMBER for number in numbers) or not 1 <= found.latent_size <= 16:
            raise HasamaError("The noise has 1 to 16 dimensions, and all settings are numbers.")
        if any(abs(one) > DRAWN_REACH for point in points for one in point):
            raise HasamaError(f"Points lie between -{DRAWN_REACH} and {DRAWN_REACH}.")
        if found.data not in (*DATA, "drawn") or (found.data == "drawn" and not 0 < len(points) <= DRAWN_MOST):
            raise HasamaError(f"Choose among {', '.join(DATA)}, or draw up to {DRAWN_MOST} points.")
        if found.objective not in get_args(Objective) or found.penalty not in get_args(Penalty):
            raise HasamaError("There is no such objective or penalty.")
        return found

    def recipe(self) -> Recipe:
        """The rules of the game; they are those of any training.

        Raises:
            HasamaError: a value is refused.
        """
        weighed = self.penalty != "none"
        often: dict[str, Any] = {"balance": "critic-steps", "critic_steps": self.critic_steps}
        return Recipe(
            architecture="dense", objective=self.objective, penalty=self.penalty,  # pyright: ignore[reportArgumentType]
            gamma=self.gamma if weighed else None, discriminator_norm="none", precision="fp32",
            generator_lr=self.generator_lr, discriminator_lr=self.discriminator_lr, seed=self.seed,
            generator_betas=(0.0, 0.99), discriminator_betas=(0.0, 0.99), ema_kimg=0.0,
            **(often if self.critic_steps != 1 else {}),
        )  # fmt: skip


def _line() -> Mixture:
    places = np.linspace(-1, 1, 41)
    return Mixture(np.stack([places, 0.5 * places], 1), 0.02, 1.0)


def _three() -> Mixture:
    return Mixture(np.array([[-0.8, -0.5], [0.8, -0.4], [0.0, 0.8]]), 0.12, 1.0)


# Wider than where modes are counted (`hasama coverage`): the generator is seen as it is, without a moving average.
DATA: dict[str, Mixture] = {
    "ring": MIXTURES["ring"]._replace(sigma=0.05, enough=10),
    "grid": MIXTURES["grid"]._replace(sigma=0.2, enough=5),
    "line": _line(),
    "gaussians": _three(),
}


class Ring:
    """A game that is being played.

    Args:
        settings: how it begins.
    """

    def __init__(self, settings: Settings) -> None:
        points = np.array(settings.points, np.float64).reshape(-1, 2)
        self.mixture = Mixture(points, 0.03, 1.0) if settings.data == "drawn" else DATA[settings.data]
        networks = PointNetworks(WIDTH, 3, 3, settings.latent_size)
        self.plane = Plane(self.mixture, networks, BATCH)
        self.change(settings)
        self.game = new_game(self.plane.pair(self.recipe), self.recipe)
        self.batches = self.plane.batches(self.recipe, torch.device("cpu"))
        self.losses: dict[str, float | None] = {"discriminator": None, "generator": None, "accuracy": None}
        self.latents = draw_latents(settings.seed, SHOWN, settings.latent_size)

    def change(self, settings: Settings) -> None:
        """Other rules from now on."""
        self.settings = settings
        self.recipe = self.plane.adapted(settings.recipe(), 1000)

    def step(self, who: str, count: int) -> None:
        """Play some steps; only one of the players learns if that is asked."""
        rules = Rules.of(self.recipe)
        if who != "both":
            rules = rules._replace(
                balance=Balance(lambda now: who == "discriminator", lambda now: who == "generator")
            )
        self.game.rules = rules
        with own_random_numbers():
            for step in play(self.game, (next(self.batches) for _ in range(count))):
                d, g = step.d, step.g
                right = (float(d.figures["accuracy_real"]) + float(d.figures["accuracy_fake"])) / 2
                self.losses |= {"discriminator": float(d.loss) if d.loss is not None else None, "accuracy": right}
                if g.loss is not None:
                    self.losses["generator"] = float(g.loss)

    def told(self) -> dict[str, Any]:
        """Everything that is drawn, as JSON can hold it."""
        fakes = self.generated(self.latents)
        real = as_images(draw_points(self.mixture, self.settings.seed, SHOWN, 10**9), self.mixture)
        trained = TrainedGenerator(self.game.pair.generator, None, self.settings.latent_size, 2)
        found, _ = self.plane.measure(trained, self.settings.seed)
        with torch.no_grad():
            held = torch.sigmoid(self.game.discriminate(_square(VIEW, HEAT)[:, :, None, None], None).flatten())
        return {
            "steps": self.game.steps, "real": _listed(real), "fake": _listed(fakes), "view": VIEW,
            "heat": [round(one, 3) for one in held.nan_to_num().tolist()], "side": HEAT,
            "arrows": self.arrows(fakes[:ARROWS]), "grid": self.bent(), "grid_side": GRID,
            "losses": self.losses, "modes": found.modes, "of": found.of, "quality": found.quality or 0.0,
            "verdict": self.verdict(found.modes / found.of, fakes),
        }  # fmt: skip

    @torch.no_grad()
    def generated(self, latents: Tensor) -> Tensor:
        """[n, 2, 1, 1]"""
        made = self.game.generate(latents)
        assert isinstance(made, Tensor)
        return made

    def arrows(self, fakes: Tensor) -> list[list[float]]:
        """Where the discriminator would send each point: along its gradient, as long as the steepest is to be."""
        places = fakes.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(self.game.discriminate(places, None).sum(), places)
        slope = slope.flatten(1).nan_to_num()
        slope = 0.2 * slope / slope.norm(dim=1).max().clamp_min(1e-9)
        return [[*map(_short, both)] for both in torch.cat([fakes.flatten(1), slope], 1).nan_to_num().tolist()]

    def bent(self) -> list[list[float]]:
        """Where a grid of latents goes; of more than two dimensions, nothing is shown."""
        if self.settings.latent_size > 2:
            return []
        return _listed(self.generated(_square(2, GRID)[:, : self.settings.latent_size]))

    def verdict(self, covered: float, fakes: Tensor) -> str:
        """A key of the texts: how the game stands."""
        spread = float(fakes.flatten(1).std(0).mean())
        wanted = float((self.mixture.centres / self.mixture.reach).std(0).mean())
        right = self.losses["accuracy"]
        if not math.isfinite(spread):
            return "ring_broken"
        if right is None or self.game.steps < 30:
            return "ring_begins"
        if right > 0.97:
            return "ring_discriminator_wins"
        if self.mixture.centres.shape[0] > 1 and spread < 0.35 * wanted:
            return "ring_collapse"
        if covered < 0.7:
            return "ring_missing"
        return "ring_fine"


class Rings:
    """The games of all pages, the last ones that were played."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: OrderedDict[str, Ring] = OrderedDict()

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Begin a game, or go on with one, and tell how it stands.

        Args:
            asked: `settings`; and perhaps `id`, `who`, `steps`.

        Raises:
            HasamaError: something asked is impossible.
        """
        wishes = asked.get("settings") or {}
        if not isinstance(wishes, dict):
            raise HasamaError("Settings are names and values.")
        settings, name = Settings.of(wishes), str(asked.get("id") or "")
        who, count = asked.get("who", "both"), asked.get("steps", 0)
        if who not in WHO or type(count) is not int or not 0 <= count <= STEPS_MOST:
            raise HasamaError(f"Steps are 0 to {STEPS_MOST}, of {', '.join(WHO)}.")
        with self.lock:
            ring = self.kept.get(name)
            if ring is None or ring.settings[:4] != settings[:4]:
                name, ring = secrets.token_hex(8), Ring(settings)
                self.kept[name] = ring
                while len(self.kept) > KEPT:
                    self.kept.popitem(last=False)
            else:
                ring.change(settings)
            self.kept.move_to_end(name)
            ring.step(who, count)
            return {"id": name, **ring.told()}


def _square(reach: float, side: int) -> Tensor:
    """Evenly spread points, row by row from below: [side * side, 2]."""
    ticks = torch.linspace(-reach, reach, side)
    return torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(-1, 2)


def _listed(points: Tensor) -> list[list[float]]:
    return [[_short(x), _short(y)] for x, y in points.flatten(1).nan_to_num(0, 9, -9).tolist()]


def _short(value: float) -> float:
    return round(value, 4)
