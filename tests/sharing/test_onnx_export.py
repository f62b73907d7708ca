"""Exports: onnxruntime paints what torch paints, and the folder to share says what is true and nothing private."""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from command import hasama
from hasama.cli.app import main
from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator, save_generator
from hasama.generators.sampling import draw_latents, labels_for
from hasama.networks.registry import build
from hasama.pictures.report import Report
from hasama.presets import RECIPES
from hasama.recipe import Recipe
from hasama.runs.folder import Run
from hasama.sharing import onnx_export as export
from hasama.sharing.folder import write_folder
from hasama.sharing.model_card import Trained, model_card, sheet
from hasama.sharing.onnx_export import save_onnx, settled
from hasama.tensor_files import header_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens"),
    pytest.mark.usefixtures("onnx_operators_once"),
]

SMALL = {"size": "8", "width": 4, "latent_size": 6}

# What is exported: recipe, channels, classes. Add a line for every architecture.
CASES: list[tuple[Recipe, int, tuple[str, ...]]] = [
    (RECIPES["dcgan"].but(**SMALL), 1, ()),
    (RECIPES["dcgan"].but(**SMALL | {"size": "16"}), 3, ()),
    (RECIPES["dcgan"].but(**SMALL | {"size": "16x24"}), 4, ("cat", "dog", "犬")),
    (RECIPES["dcgan"].but(**SMALL | {"size": "24x72"}), 3, ()),  # whose middle is cut out
    (RECIPES["dense"].but(**SMALL | {"size": "7x5"}), 3, ("a", "b")),
    (RECIPES["dense"].but(**SMALL), 1, ()),
    (RECIPES["vae"].but(**SMALL), 3, ()),
]


def name_of(case: object) -> str | None:
    return f"{case.architecture}-{case.size}" if isinstance(case, Recipe) else None


def generator(recipe: Recipe, channels: int = 3, classes: tuple[str, ...] = ()) -> TrainedGenerator:
    """As if trained: the weights are not the first ones, BatchNorm has statistics, latents make a difference."""
    network = build(recipe, channels, len(classes)).generator
    ours = TrainedGenerator(network, recipe, recipe.latent_size, channels, classes)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
        network.train()
        for step in range(20):
            network(*arguments(ours, 16, seed=step))
    network.eval()
    return ours


def arguments(ours: TrainedGenerator, count: int, seed: int = 9) -> tuple[torch.Tensor, ...]:
    latents, labels = draw_latents(seed, count, ours.latent_size), labels_for(ours, count)
    return (latents,) if labels is None else (latents, labels)


def run_onnx(path: Path, *given: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return np.asarray(session.run(["images"], dict(zip(names, (one.numpy() for one in given), strict=True)))[0])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with classes, as training leaves it, but for the checkpoint."""
    return make_run(tmp_path / "my_cats")


def make_run(folder: Path, name: str = "/home/maria-the-private/Bilder/kä*tzchen") -> Path:
    recipe, classes = RECIPES["dcgan"].but(**SMALL | {"size": "16x24"}), ("old_cats", "<b>new</b>", "犬")
    place = Run(folder)
    report = Report(name, 50, 41, recipe.resolution, 3, "crop", "key", classes=dict.fromkeys(classes, 1))
    place.create(recipe, report, name)
    place.append_log({"images_seen": 12_500})
    save_generator(generator(recipe, 3, classes), place.generator)
    return folder


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The command, in this process."""
    monkeypatch.setattr(sys, "argv", ["hasama", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


# --- ONNX -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("recipe", "channels", "classes"), CASES, ids=name_of)
def test_onnxruntime_paints_what_torch_paints(
    recipe: Recipe, channels: int, classes: tuple[str, ...], tmp_path: Path
):
    ours, path = generator(recipe, channels, classes), tmp_path / "generator.onnx"
    before = {name: tensor.clone() for name, tensor in ours.network.state_dict().items()}
    assert save_onnx(ours, path) < 1e-4
    for count in (1, 2, 5):
        given = arguments(ours, count)
        with torch.no_grad():
            wanted = ours.network(*given).numpy()
        made = run_onnx(path, *given)
        assert made.dtype == np.float32
        assert made.shape == (count, channels, *recipe.resolution)
        assert np.abs(made - wanted).max() < 1e-4
        if count > 1:
            assert np.abs(wanted[0] - wanted[1]).max() > 0.05  # or any network of that shape would do
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.network.state_dict().items())
    assert [file.name for file in tmp_path.iterdir()] == ["generator.onnx"]


def test_the_file_says_what_it_is(run: Path, monkeypatch: pytest.MonkeyPatch):
    import onnx

    assert command(monkeypatch, "export", run, "--onnx") == 0
    file = run / "export" / "generator.onnx"
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # no card without --safetensors
    session = onnxruntime.InferenceSession(str(file))
    assert [(i.name, i.shape, i.type) for i in session.get_inputs()] == [
        ("latents", ["batch", 6], "tensor(float)"),
        ("labels", ["batch"], "tensor(int64)"),
    ]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("images", ["batch", 3, 24, 16])]
    about = json.loads(session.get_modelmeta().custom_metadata_map["hasama"])
    assert about == json.loads(header_of(run / "generator.safetensors"))
    assert about["classes"] == ["old_cats", "<b>new</b>", "犬"]
    for private in (Path(torch.__file__).parents[1], Path(export.__file__).parents[1], run):
        assert str(private).encode() not in file.read_bytes()
    latents = draw_latents(0, 1, 6)
    a, b = (run_onnx(file, latents, torch.tensor([label])) for label in (0, 2))
    assert np.abs(a - b).max() > 0.01
    model = onnx.load(file)
    onnx.checker.check_model(model)
    assert {one.domain: one.version for one in model.opset_import}[""] >= 18


def test_weights_of_gigabytes_stand_in_a_second_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ours = generator(*CASES[0])
    monkeypatch.setattr(export, "LARGEST_FILE", 100)
    save_onnx(ours, tmp_path / "g.onnx")
    assert {file.name for file in tmp_path.iterdir()} == {"g.onnx", "g.onnx.data"}
    given = arguments(ours, 4)
    with torch.no_grad():
        assert np.abs(run_onnx(tmp_path / "g.onnx", *given) - ours.network(*given).numpy()).max() < 1e-4
    (tmp_path / "g.onnx.data").unlink()
    with pytest.raises(Exception, match=r"g\.onnx\.data"):
        run_onnx(tmp_path / "g.onnx", *given)


class Growing(nn.Module):
    """Has what only training moves: a level in a buffer, by which it decides, and a parametrized weight."""

    level: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 12))
        self.register_buffer("level", torch.tensor(1.5))
        self.settled_level: float | None = None

    def settle(self) -> None:
        self.settled_level = float(self.level)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        level = self.level if self.settled_level is None else self.settled_level
        grown = self.deep(latents) * level if level > 1 else latents.repeat(1, 4)
        return grown.view(-1, 3, 2, 2).tanh()


def test_what_training_moves_is_made_fast_in_a_copy(tmp_path: Path):
    network = nn.Sequential(Growing()).eval()
    ours = TrainedGenerator(network, None, 3, 3)
    assert save_onnx(ours, tmp_path / "g.onnx") < 1e-5
    (growing,) = network
    assert isinstance(growing, Growing)
    assert growing.settled_level is None
    assert nn.utils.parametrize.is_parametrized(growing.deep)
    latents = draw_latents(0, 4, 3)
    with torch.no_grad():
        wanted = network(latents)
        again = settled(network)(latents)
    assert torch.equal(wanted, again)
    assert growing.settled_level == 1.5
    assert not nn.utils.parametrize.is_parametrized(growing.deep)


class Noisy(nn.Module):
    """Never paints the same picture twice."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return (latents + torch.randn_like(latents))[:, :, None, None]


class Torn(nn.Module):
    """Paints nothing but NaN."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return (latents * float("nan"))[:, :, None, None]


class Undecided(nn.Module):
    """Decides by the numbers themselves, which no graph can."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return (latents if latents.sum() > 0 else -latents)[:, :, None, None]


class Counting(nn.Module):
    """Takes the size of the batch for a number, by which torch fixes it."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.ones(1, 3, 1, 1).expand(len(latents), -1, -1, -1) * latents[:, :, None, None]


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Counting(), "fixes the size of the batch"),
        (Noisy(), "differ from torch's by"),
        (Torn(), "differ from torch's by nan"),
        (Undecided(), "cannot export"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_a_network_that_onnx_cannot_hold_leaves_no_file(
    network: nn.Module, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    (tmp_path / "g.onnx").write_text("the one before")
    with pytest.raises(HasamaError, match=words) as told:
        save_onnx(TrainedGenerator(network, None, 3, 3), tmp_path / "g.onnx")
    assert len(str(told.value).splitlines()) == 1
    assert [file.read_text() for file in tmp_path.iterdir()] == ["the one before"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_nothing_is_begun(
    package: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    found = export.find_spec
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == package else found(name))
    assert command(monkeypatch, "export", run / "not there", "--onnx") == 2
    told = capsys.readouterr().err
    assert told == (
        f"hasama: Exporting ONNX needs the package {package}: install it with  pip install 'hasama[onnx]'\n"
    )
    assert command(monkeypatch, "export", run) == 2
    assert "pip install 'hasama[onnx]'  (without it:  --safetensors)" in capsys.readouterr().err
    assert not (run / "export").exists()
    assert command(monkeypatch, "export", run, "--safetensors") == 0
    assert (run / "export" / "README.md").exists()


# --- the folder -----------------------------------------------------------------------------------


def test_export_writes_both_and_says_so(run: Path):
    done = hasama("export", run, "--license", "cc-by-4.0")
    assert (done.returncode, done.stderr) == (0, "")
    out = run / "export"
    files = {"generator.onnx", "generator.safetensors", "README.md", "samples.png"}
    assert {file.name for file in out.iterdir()} == files
    assert str(out / "generator.onnx") in done.stdout
    assert re.search(r"differ from torch's by at most \d\.\de-\d\d\n", done.stdout)
    assert f"{out}: generator.safetensors, samples.png" in done.stdout
    assert len(done.stdout.splitlines()) == 2
    assert (out / "generator.safetensors").read_bytes() == (run / "generator.safetensors").read_bytes()
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o644}
    assert yaml.safe_load((out / "README.md").read_text().split("---\n")[1])["license"] == "cc-by-4.0"
    assert "generator.onnx" in (out / "README.md").read_text()


def test_nothing_of_others_is_replaced(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Neither another run, nor what lies in a folder that is no export, such as somebody's downloads."""
    alone = tmp_path / "mine.safetensors"
    alone.write_bytes((run / "generator.safetensors").read_bytes())
    for name in ("generator.safetensors", "samples.png", "generator.onnx"):
        there = tmp_path / name
        there.write_text("another's")
        assert command(monkeypatch, "export", alone, "--out", tmp_path) == 2
        assert f"{there} would be replaced" in capsys.readouterr().err
        assert there.read_text() == "another's"
        there.unlink()
    for words in ((alone,), (run,)):
        assert command(monkeypatch, "export", *words, "--safetensors", "--out", run) == 2
        assert f"{run} is a run" in capsys.readouterr().err
    own = tmp_path / "own"
    for words in (["--onnx"], ["--onnx"], ["--safetensors"], ["--onnx"]):  # which of them has a card, and which not
        assert command(monkeypatch, "export", alone, *words, "--out", own) == 0, words
    (own / "README.md").write_text("another's")
    (own / "generator.safetensors").write_text("another's")
    assert command(monkeypatch, "export", alone, "--onnx", "--out", own) == 0  # which does not touch it
    assert (own / "generator.safetensors").read_text() == (own / "README.md").read_text() == "another's"
    for _ in range(2):  # an export is replaced by another
        assert command(monkeypatch, "export", alone, "--safetensors", "--out", tmp_path) == 0
    assert (tmp_path / "samples.png").stat().st_size > 100


def test_a_generator_alone_can_be_shared_too(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    alone = tmp_path / "elsewhere" / "cats.safetensors"
    alone.parent.mkdir()
    (run / "generator.safetensors").rename(alone)
    assert command(monkeypatch, "export", alone, "--safetensors", "--out", tmp_path / "out") == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "# cats\n" in card
    assert "| trained for | not known: exported from the file alone |" in card
    assert "generator.onnx" not in card
    assert (tmp_path / "out" / "generator.safetensors").read_bytes() == alone.read_bytes()


def card_of(run: Path, **options: Any) -> tuple[dict[str, Any], str]:
    """A run's card: front matter and text."""
    ours = Trained(Run(run).generator, generator(*CASES[2][:2], ("old_cats", "<b>new</b>", "犬")), Run(run))
    _, front, text = model_card(ours, **options).split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_card_says_what_is_true_and_nothing_private(run: Path):
    front, text = card_of(run)
    assert front == {
        "pipeline_tag": "unconditional-image-generation",
        "library_name": "hasama",
        "tags": ["gan", "hasama", "dcgan"],
        "license": "other",
    }
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", text, flags=re.MULTILINE))
    assert rows == {
        "architecture": "dcgan, width 4",
        "resolution": "16 pixels wide, 24 high",
        "channels": "4 (RGBA)",
        "latent size": "6",
        "classes": r"3: old\_cats, \<b\>new\</b\>, 犬",
        "trained for": "12.5 kimg (thousands of training pictures shown)",
        "trained on": r"41 pictures (kä\*tzchen)",
    }
    assert text.startswith("\n# my\\_cats\n")
    assert "No metric was computed." in text
    assert "responsible" in text
    assert "maria-the-private" not in text
    assert str(run.parent) not in text


def test_the_checkpoint_knows_better_than_the_log(run: Path):
    torch.save({"game": {"images_seen": 13_000}}, run / "game.pt")
    assert "| trained for | 13 kimg" in card_of(run)[1]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (r"C:\Users\maria\cats", "(cats)"),
        ("digits", "(digits)"),
        ("/home/maria/", "(maria)"),
        ("..", "41 pictures |"),
        ("a/new\nline\udcff.zip", "(new line .zip)"),
    ],
)
def test_of_the_source_only_its_own_name_is_told(name: str, told: str, tmp_path: Path):
    text = card_of(make_run(tmp_path / "run", name))[1]
    assert told in text
    text.encode()
    assert "Users" not in text
    assert "/home" not in text


def test_a_vae_is_not_called_a_gan(tmp_path: Path):
    card = model_card(Trained(tmp_path / "g.safetensors", generator(*CASES[-1])), "mit", "maria/faces")
    assert yaml.safe_load(card.split("---\n")[1])["tags"] == ["hasama", "vae"]
    assert "# faces\n" in card
    assert "hf download maria/faces generator.safetensors --local-dir ." in card


@pytest.mark.parametrize(
    "report",
    [
        {"extractor": "vgg19", "samples": 5000, "kid": 0.0123456, "coverage": 0.75},
        [{"extractor": "vgg19", "samples": 5000, "figures": {"kid": 0.0123456, "coverage": 0.75}}],
    ],
)
def test_the_card_lists_what_was_measured(report: Any, run: Path):
    (run / "metrics.json").write_text(json.dumps(report))
    text = card_of(run)[1]
    assert "- kid: 0.0123456 (vgg19, 5000 samples)\n- coverage: 0.75 (vgg19, 5000 samples)\n" in text
    assert "No metric" not in text


@pytest.mark.parametrize("damage", ["{", "[3]", "null"])
def test_damaged_metrics_are_not_passed_over(damage: str, run: Path):
    (run / "metrics.json").write_text(damage)
    with pytest.raises(HasamaError, match=r"metrics .*metrics\.json (is|are) damaged"):
        card_of(run)


@pytest.mark.parametrize("classes", [(), ("a", "b")])
def test_what_the_card_tells_to_run_runs(
    classes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ours = generator(CASES[5][0], 1, classes)
    save_generator(ours, tmp_path / "g.safetensors")
    out = tmp_path / "out"
    save_onnx(ours, out / "generator.onnx")
    write_folder(Trained(tmp_path / "g.safetensors", ours), out, onnx=True)
    monkeypatch.chdir(out)
    text = (out / "README.md").read_text()
    ((shell,), blocks) = (re.findall(rf"```{kind}\n(.*?)```", text, flags=re.DOTALL) for kind in ("sh", "python"))
    install, sample = shell.splitlines()
    assert install == "pip install hasama"
    assert command(monkeypatch, *shlex.split(sample)[1:]) == 0
    assert Image.open("pictures.png").size == (8 * 66 + 2, 8 * 66 + 2)
    assert len(blocks) == 2
    made: dict[str, Any] = {}
    for block in blocks:
        exec(block, made)
    assert Image.open("pictures.png").size == (4 * 66 + 2, 4 * 66 + 2)
    assert made["images"].shape == (16, 1, 8, 8)


def test_the_sheet_has_a_column_for_each_class_and_fits_on_a_page():
    assert sheet(generator(*CASES[2])).size == (3 * 34 + 2, 8 * 50 + 2)  # 16x24, doubled
    large = TrainedGenerator(nn.Flatten(), RECIPES["dcgan"].but(size="1024"), 4, 1)
    large.network.forward = lambda latents: torch.zeros(len(latents), 1, 1024, 1024)
    large.network.register_parameter("weight", nn.Parameter(torch.zeros(1)))
    assert sheet(large).size == (2 * 1026 + 2, 2 * 1026 + 2)


# --- what cannot be exported ----------------------------------------------------------------------


def test_wrong_input_is_told_in_a_sentence(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def refused(*words: object) -> str:
        assert command(monkeypatch, "export", *words) == 2
        told = capsys.readouterr().err
        assert "Traceback" not in told
        return told

    before = sorted(tmp_path.rglob("*"))
    assert "There is no generator at" in refused(tmp_path / "nothing", "--safetensors")
    assert "There is no run at" in refused(tmp_path, "--safetensors")
    told = refused(run / "recipe.json", "--onnx")
    assert "recipe.json is not a readable safetensors file" in told  # not the copy that export takes
    assert str(run)[:20] in told
    assert "is a file; --out takes a folder" in refused(run, "--out", run / "recipe.json", "--safetensors")
    assert "--license takes a licence's short name" in refused(run, "--license", "mit\nx: y", "--safetensors")
    assert sorted(tmp_path.rglob("*")) == before

    whole = Run(run).generator.read_bytes()
    Run(run).generator.write_bytes(whole[: len(whole) // 2])
    assert "not a readable safetensors file" in refused(run)
    Run(run).generator.unlink()
    assert "has no generator yet" in refused(run)
    assert not (run / "export").exists()


def test_another_projects_readme_is_left_alone(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "project"
    out.mkdir()
    (out / "README.md").write_text("# My project\n")
    assert command(monkeypatch, "export", run, "--safetensors", "--out", out) == 2
    assert [(file.name, file.read_text()) for file in out.iterdir()] == [("README.md", "# My project\n")]
    for _ in range(2):  # our own may be replaced
        assert command(monkeypatch, "export", run, "--safetensors") == 0
