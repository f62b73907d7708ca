"""What the scripts that teach what ships share: what they are asked, and where they stand between sessions."""

import argparse
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from hasama.device import keep_memory
from hasama.tensor_files import save_tensors

TOLD_EVERY = 50
KEPT_SECONDS = 120


def asked(about: str | None) -> argparse.Namespace:
    """What to teach on, for how long and where to; and one thread, so that minutes mean something.

    Args:
        about: the script's docstring.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=240.0, help="of processor time, over all sessions")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--begin-with", type=Path, help="weights of another teaching, to be made better")
    parser.add_argument("--share", type=float, default=1.0, help="of the way from those, what ships goes so far")
    torch.set_num_threads(1)
    keep_memory()
    torch.manual_seed(0)
    return parser.parse_args()


class Teaching:
    """Where the teaching stands: steps, processor time, and the files.

    Args:
        given: from `asked`.
        parts: {name: what has a state}; it is loaded if there is one.
        weights: what ships, when it is asked for.
    """

    def __init__(
        self, given: argparse.Namespace, parts: Mapping[str, Any], weights: Callable[[], Mapping[str, Tensor]]
    ) -> None:
        self.given, self.parts, self.weights = given, parts, weights
        self.steps, self.spent = 0, 0.0
        if given.state.exists():
            state = torch.load(given.state, weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(state[name])
            self.steps, self.spent = state["steps"], state["spent"]
        self.begin()
        self.told: list[Sequence[float]] = []
        self.before = load_file(given.begin_with) if given.begin_with and given.share < 1 else {}

    def begin(self) -> None:
        """From now on time counts: what is made ready before does not."""
        self.began, self.saved = _clock(), time.monotonic()

    def minutes(self) -> float:
        """Of the processor's time, in all sessions."""
        return self.spent + (_clock() - self.began) / 60

    def done(self) -> float:
        """The share of the minutes."""
        return self.minutes() / self.given.minutes

    def step(self, figures: Sequence[float]) -> None:
        """After each step: tell and keep what is due."""
        self.steps += 1
        self.told.append(figures)
        if self.steps % TOLD_EVERY == 0:
            means = (f"{mean:.4f}" for mean in np.mean(self.told, 0))
            print(self.steps, f"{self.minutes():.1f} min", *means, flush=True)
            self.told.clear()
        if time.monotonic() - self.saved > KEPT_SECONDS:
            self.keep()
            self.saved = time.monotonic()

    def keep(self) -> None:
        """The state, and what ships as it is now."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        new = self.given.state.with_suffix(".new")
        torch.save(state | {"steps": self.steps, "spent": self.minutes()}, new)
        new.replace(self.given.state)
        weights = dict(self.weights())
        for name, before in self.before.items():  # Wang et al. 2018 (ESRGAN), section 3.4
            weights[name] = before.float().lerp(weights[name].float(), self.given.share)
        halves = {name: tensor.half() for name, tensor in weights.items()}
        save_tensors(self.given.out, halves, {"steps": self.steps})


def _clock() -> float:
    """Processor seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
