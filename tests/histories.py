"""Logs of trainings in which the truth is known, for the doctor to read; and run folders with such logs."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hasama.presets import RECIPES
from hasama.runs.folder import Run

RECIPE = RECIPES["dcgan"].but(kimg=200.0)
IMAGES = {"used": 5000, "duplicates": []}
LOOK = 5000  # images between two looks


def healthy(done: float) -> dict[str, float]:
    """Signals of a training that goes well, at a share of its length."""
    return {
        "loss_discriminator": 0.9, "loss_generator": 1.4, "accuracy_real": 0.8, "accuracy_fake": 0.8,
        "spread_real": 0.6, "contrast_real": 0.5, "contrast": 0.2 + 0.8 * min(1, 2 * done),
        "diversity": 0.1 + 0.85 * min(1, 2 * done), "diversity_features": 0.3 + 0.6 * min(1, 2 * done),
        "colours": 0.2 + 0.7 * min(1, 2 * done),
        "covered": min(0.9, done), "distance": 0.05 + 2 * math.exp(-6 * done), "repeats": max(0.0, 1 - 4 * done),
        "nearest": 1.0, "unrest": 0.2, "overfit": 0.05, "logit_real": 1.0, "logit_fake": -1.0,
        "gradient_generator": 1.0, "gradient_discriminator": 1.0,
    }  # fmt: skip


def story(
    change: Callable[[float], dict[str, Any]] | None = None, looks: int = 40, apart: int = LOOK
) -> list[dict[str, Any]]:
    """A log: at each look and once between two of them, the healthy signals with some changed."""
    log = []
    for number in range(1, 2 * looks + 1):
        done = number / (2 * looks)
        figures = healthy(done) | (change(done) if change else {})
        line = {"images_seen": number * apart // 2, "seconds": float(number)} | figures
        log.append(line if number % 2 == 0 else {k: v for k, v in line.items() if k in BETWEEN})
    return log


BETWEEN = ("images_seen", "seconds", "loss_discriminator", "loss_generator", "accuracy_real", "accuracy_fake")


def late(figures: dict[str, Any], start: float = 0.5) -> Callable[[float], dict[str, Any]]:
    """The same figures from a moment on."""
    return lambda done: figures if done > start else {}


CASES: dict[str, tuple[Callable[[float], dict[str, Any]], str]] = {
    "mode-collapse": (late({"diversity": 0.05, "repeats": 1.0, "distance": 1.5}), "serious"),
    "partial-collapse": (late({"diversity": 0.8, "repeats": 0.4}), "warning"),
    "few-colours": (late({"colours": 0.4}), "warning"),
    "discriminator-wins": (
        late({"accuracy_real": 1.0, "accuracy_fake": 1.0, "loss_discriminator": 0.001, "distance": 2.0}, 0.1),
        "serious",
    ),
    "generator-wins": (late({"accuracy_fake": 0.02, "distance": 2.5}, 0.3), "serious"),
    "divergence": (late({"logit_real": 1e5, "logit_fake": -1e5, "loss_discriminator": -1e5}), "serious"),
    "memorisation": (late({"nearest": 0.1}), "warning"),
    "overfitting": (late({"overfit": 0.8}), "warning"),
    "dead-start": (lambda done: {"contrast": 0.1, "diversity": 0.05, "distance": 2.0, "repeats": 1.0}, "serious"),
    "oscillation": (
        lambda done: {"distance": 1.2 + 0.7 * (-1) ** int(done * 20)} if done > 0.3 else {},
        "warning",
    ),
    "all-alike": (lambda done: {"spread_real": 0.01}, "serious"),
    "one-colour": (lambda done: {"contrast_real": 0.01}, "serious"),
}


def planted(folder: Path, log: list[dict[str, Any]], **images: Any) -> Run:
    """A run folder with this log, and these values in images.json."""
    run = Run(folder)
    folder.mkdir(exist_ok=True)
    run.save_recipe(RECIPES["dcgan"].but(kimg=200.0))
    about = {"name": "x", "key": "k", "digest": "d", "channels": 3, "used": 5000, "duplicates": []}
    (folder / "images.json").write_text(json.dumps(about | images))
    run.log_file.write_text("".join(json.dumps(line) + "\n" for line in log))
    return run
