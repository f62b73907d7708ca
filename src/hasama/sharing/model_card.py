"""The model card of a shared generator: what it is, how to use it, how good it is, what its limits are."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from hasama.errors import HasamaError
from hasama.evaluation.subject import helped_to_train, origin_of
from hasama.files import read_json, sha256_of
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import draw_latents, generate_all, labels_for
from hasama.pictures.images import grid
from hasama.runs.bases import about_base, is_base
from hasama.runs.folder import Run
from hasama.runs.standing import seen_by

if TYPE_CHECKING:
    from PIL import Image

GENERATOR, CARD, SAMPLES, ONNX = "generator.safetensors", "README.md", "samples.png", "generator.onnx"

OURS = "library_name: hasama"  # by which a card of an earlier export is known
SHEET = 2048  # pixels of the samples' wider side, about

LIMITS = """\
A generator shows what its training pictures show, with their gaps and their bias, and may repeat parts of them.
Whether those pictures may be used so, and whether pictures made from them may be shared, depends on the licence of
the training pictures and on the rights of the people in them: whoever shares or uses this generator is responsible
for that. The licence above is the one its uploader chose for the weights; it gives no rights to the pictures."""

COLOURS = {1: "1 (grey)", 3: "3 (RGB)", 4: "4 (RGBA)"}
NAMED_CLASSES = 100


class Trained(NamedTuple):
    """A generator, and what is known about its training.

    Attributes:
        file: the `generator.safetensors`, or the `best.safetensors`.
        generator: what was read from it.
        run: the run that it is from, or the base that it is; None for a file alone.
        copy: of the file as it was read: a run that is being trained writes another one meanwhile. None: the file.
    """

    file: Path
    generator: TrainedGenerator
    run: Run | None = None
    copy: Path | None = None

    @property
    def weights(self) -> Path:
        """The file that holds what `generator` has."""
        return self.copy or self.file


def usual_license(trained: Trained) -> str:
    """The licence's short name where nobody chose one: a base's own, else 'other'."""
    if trained.run is None or not is_base(trained.run.folder):
        return "other"
    return about_base(trained.run.folder.name)["licence"].lower().replace(" ", "-")


def check_license(name: str) -> None:
    """Before any work: can this be the licence in the card?

    Raises:
        HasamaError: it is not a licence's short name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9.+-]*", name):
        raise HasamaError(f"--license takes a licence's short name, such as mit, cc-by-4.0 or other; got {name!r}.")


def sheet(generator: TrainedGenerator, seed: int = 0) -> "Image.Image":
    """A grid of samples, of 64 small or 4 large pictures; with classes, a column for each of the first ones."""
    side = max(generator.recipe.resolution) if generator.recipe else 64
    columns = rows = min(max(SHEET // side, 2), 8)
    if generator.classes:
        columns = min(len(generator.classes), 2 * rows)
    labels = labels_for(generator, columns * rows)
    if labels is not None:
        labels = torch.arange(columns * rows) % columns
    return grid(generate_all(generator, draw_latents(seed, columns * rows, generator.latent_size), labels), columns)


def about(trained: Trained) -> str:
    """The generator in a few words: architecture and size."""
    recipe = trained.generator.recipe
    return f"{recipe.architecture}, {recipe.resolution[1]}x{recipe.resolution[0]}" if recipe else "generator"


def model_card(trained: Trained, license: str = "other", repository: str | None = None, onnx: bool = False) -> str:
    """The text of the README.md: what the generator is, how to use it, how good it is, what its limits are.

    It names the number of training pictures and the last part of their source's name, never the whole path.
    """
    name = repository.split("/")[1] if repository else trained.file.stem
    if trained.run and not repository:
        name = trained.run.folder.resolve().name
    architecture = trained.generator.recipe.architecture if trained.generator.recipe else "generator"
    kind = [] if architecture == "vae" else ["gan"]  # a vae is no GAN
    front = ["pipeline_tag: unconditional-image-generation", OURS, "tags:"]
    front += [f"- {tag}" for tag in (*kind, "hasama", architecture)]
    sections = (
        "\n".join(["---", *front, f"license: {license}", "---"]),
        f"# {_words(name)}",
        f"A generator of pictures ({architecture}), trained with Hasama.",
        f"![Samples from random latents, not chosen by hand]({SAMPLES})",
        _facts(trained),
        _use(trained.generator, repository),
        _use_onnx(trained.generator) if onnx else "",
        f"## Quality\n\n{_quality(trained)}",
        f"## Limits\n\n{LIMITS}",
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _facts(trained: Trained) -> str:
    """The table of the generator's form and training."""
    generator, recipe = trained.generator, trained.generator.recipe
    facts: list[tuple[str, Any]] = []
    if recipe:
        height, width = recipe.resolution
        facts.append(("architecture", f"{recipe.architecture}, width {recipe.width}"))
        facts.append(("resolution", f"{width} pixels wide, {height} high"))
        if recipe.enlarge > 1:
            small = "x".join(str(side) for side in reversed(recipe.game_resolution))
            told = f"{recipe.enlarge} times, from {small}, by a network of Hasama's (see its NOTICE.md)"
            facts.append(("enlarged", told))
    facts.append(("channels", COLOURS[generator.channels]))
    facts.append(("latent size", generator.latent_size))
    named = ", ".join(map(_words, generator.classes[:NAMED_CLASSES]))
    more = " and others" if len(generator.classes) > NAMED_CLASSES else ""
    facts.append(("classes", f"{len(generator.classes)}: {named}{more}" if generator.classes else "none"))
    unknown = [("trained for", "not known: exported from the file alone")]
    facts += _history(trained.file, trained.run) if trained.run else unknown
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts)])


def _history(file: Path, run: Run) -> list[tuple[str, str]]:
    """How long the run's generator in this file was trained, and on what."""
    images, log = run.images(), run.log()
    seen = seen_by(file, run) or (log[-1]["images_seen"] if log else 0)  # who has deleted game.pt still has the log
    count, crops = images["used"], images.get("crops")
    what = f"{crops} random crops of one picture" if crops else f"{count} picture{'s'[: count != 1]}"
    if only := run.recipe().only:
        what = f"{what} of {_words(only.replace(',', ', '))}"
    source = re.split(r"[\\/]", images["name"].rstrip("\\/"))[-1].strip("~.")
    if is_base(run.folder):
        base = about_base(run.folder.name)
        source = f"{source}: {base['authors']}; {base['licence']}"
    small = run.small().images_seen()
    early = f", after {small / 1000:g} of pictures of half the size" if small else ""
    length = f"{seen / 1000:g} kimg (thousands of training pictures shown){early}" if seen else "not known"
    facts = [("trained for", length), ("trained on", f"{what} ({_words(source)})" if source else what)]
    return facts + _begun_with(run.recipe().init_from)


def _begun_with(place: str) -> list[tuple[str, str]]:
    """The weights that it began with; of a base its pictures and licence, which may bind what is made from it."""
    if not place:
        return []
    if not is_base(place):
        return [("began with", "the weights of another run")]
    base = about_base(place)
    told = f"the base {place} of Hasama, which learnt from {base['pictures']} ({base['authors']}; {base['licence']})"
    return [("began with", told)]


def _use(generator: TrainedGenerator, repository: str | None) -> str:
    """The commands and the Python code, ready to be pasted."""
    fetch = [f"hf download {repository} {GENERATOR} --local-dir ."] if repository else []
    command = ["pip install hasama", *fetch, f"hasama sample {GENERATOR} --count 64 --out pictures.png"]
    code = ["import hasama", "", f'generator = hasama.load_generator("{GENERATOR}")']
    code.append("latents = hasama.draw_latents(seed=0, count=16, size=generator.latent_size)")
    if generator.classes:
        code.insert(0, "import torch")
        code.append("labels = torch.arange(16) % len(generator.classes)")
    given = "latents, labels" if generator.classes else "latents"
    code.append(f"pixels = generator.generate({given})  # uint8 [16, height, width, channels]")
    code.append('hasama.save_picture(hasama.grid(pixels), "pictures.png")')
    return "\n".join(["## Use", "", "```sh", *command, "```", "", "```python", *code, "```"])


def _use_onnx(generator: TrainedGenerator) -> str:
    """The same for the ONNX file, which needs no Hasama."""
    code = ["import numpy as np", "import onnxruntime", "", f'session = onnxruntime.InferenceSession("{ONNX}")']
    code.append(f"latents = np.random.default_rng(0).standard_normal((16, {generator.latent_size}), np.float32)")
    given = '"latents": latents'
    if generator.classes:
        code.append(f"labels = np.arange(16, dtype=np.int64) % {len(generator.classes)}")
        given += ', "labels": labels'
    code.append(f'(images,) = session.run(["images"], {{{given}}})  # [16, channels, height, width], -1 to 1')
    return "\n".join(["Without Hasama, in onnxruntime:", "", "```python", *code, "```"])


def _quality(trained: Trained) -> str:
    """The figures in `metrics.json`, which is one report or a list of them; or a sentence that there are none.

    A report is an object with `extractor`, `samples` and figures, which may stand in an object of their own.
    """
    file = trained.run.folder / "metrics.json" if trained.run else None
    if file is None or not file.exists():
        return "No metric was computed."
    reports, own = read_json(file, "metrics"), sha256_of(trained.weights)
    lines = []
    for report in reports if isinstance(reports, list) else [reports]:
        if not isinstance(report, dict):
            raise HasamaError(f"The metrics {file} are damaged: delete them, or measure again.")
        inner = [value for value in report.values() if isinstance(value, dict)]
        figures = {k: v for part in (report, *inner) for k, v in part.items() if type(v) in (int, float)}
        samples = figures.pop("samples", "an unknown number of")
        how = f"{_words(str(report.get('extractor', 'an unknown extractor')))}, {samples} samples"
        how += _reserve(report, own)
        lines += [f"- {_words(name)}: {value:g} ({how})" for name, value in figures.items()]
    return "\n".join(lines) or "No metric was computed."


def _reserve(report: dict[str, Any], own: str) -> str:
    """A note if figures are not of this generator, whose file has the checksum `own`, or not of its pictures."""
    told, generator = "", origin_of(report, "generator")
    if origin_of(report, "pictures").get("of the training") is False:
        told += ", against other pictures than those of the training"
    if generator.get("sha256") not in (None, own):
        seen = generator.get("images_seen")
        told += f", of the generator at {seen / 1000:g} kimg" if isinstance(seen, int) else ", of another generator"
    if helped_to_train(report):
        told += ", by the network that helped to train it, which flatters"
    return told


def _words(name: str) -> str:
    """A name that somebody else chose, as plain words in Markdown: no markup, no line breaks, no HTML."""
    plain = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())
    return re.sub(r"([\\`*_{}\[\]<>()#!|~$&])", r"\\\1", plain)
