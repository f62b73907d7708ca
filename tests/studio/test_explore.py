"""The Explore page: styles are mixed as everywhere, a child projects pictures, the best generator is shown."""

import io
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

starlette = pytest.importorskip("starlette")
pytest.importorskip("python_multipart")

from starlette.testclient import TestClient  # noqa: E402

from easel import hasama_here  # noqa: E402
from hasama.generators.generator_file import load_generator  # noqa: E402
from hasama.generators.sampling import (  # noqa: E402
    crossed,
    generate_from_w,
    latents_of_seeds,
    mean_w,
    to_w,
    truncate,
)
from hasama.networks.pair import is_styled  # noqa: E402
from hasama.runs.folder import Run  # noqa: E402
from hasama.studio.app import make_studio  # noqa: E402
from hasama.studio.jobs import Jobs  # noqa: E402
from odd_files import scene  # noqa: E402

HOST = "127.0.0.1:8765"
OWN = {"host": HOST, "origin": f"http://{HOST}"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: one with styles, one without."""
    root = tmp_path_factory.mktemp("studio")
    small = ["--size", 16, "--width", 4, "--batch", 4, "--latent-size", 8, "--steps", 4, "--threads", 1]
    for name in ("stylegan", "dcgan"):
        done = hasama_here("train", "digits", name, *small, "--out", root / name)
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def client(trained: Path):
    with TestClient(
        make_studio(trained, [HOST], "let-me-in"), base_url=f"http://{HOST}", follow_redirects=False
    ) as it:
        yield it


def jobs_of(client: TestClient) -> Jobs:
    app: Any = client.app
    return app.state.studio.jobs


def shown(client: TestClient, **query: object) -> np.ndarray:
    words = {"run": "stylegan", "keep": 1} | query
    answer = client.get("/generated.png", params={name: str(value) for name, value in words.items()})
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


# --- mixing ---------------------------------------------------------------------------------------


def test_styles_are_mixed_as_everywhere(client: TestClient, trained: Path):
    generator = load_generator(Run(trained / "stylegan").saved_generator(), "cpu")
    assert is_styled(generator.network)
    layers = generator.network.style_layers
    w = truncate(to_w(generator, latents_of_seeds([3, 9], 8)), mean_w(generator), 0.7)
    for layer in (0, 1, layers - 1, layers):
        (wanted,) = np.concatenate(
            list(generate_from_w(generator, crossed(w[:1], w[1:], range(layer, layers), layers)))
        )
        found = shown(client, seed=3, other=9, layer=layer, truncation=0.7)
        assert np.array_equal(found, wanted[..., 0]), layer
    assert np.array_equal(shown(client, seed=3, other=9, layer=layers), shown(client, seed=3))
    assert np.array_equal(shown(client, seed=3, other=9, layer=0), shown(client, seed=9))


def test_only_generators_with_styles_offer_to_mix(client: TestClient):
    assert 'name="other"' in client.get("/explore?run=stylegan").text
    assert 'name="other"' not in client.get("/explore?run=dcgan").text
    plain = shown(client, run="dcgan", seed=3)
    assert np.array_equal(plain, shown(client, run="dcgan", seed=3, other=9, layer=0))


@pytest.mark.parametrize("wish", [{"other": "x"}, {"other": -1}, {"layer": -1}, {"layer": 99}, {"layer": "1.5"}])
def test_impossible_mixtures_are_told(client: TestClient, wish: dict):
    words = {"run": "stylegan", "other": 1} | wish
    assert client.get("/generated.png", params=words).status_code == 422


# --- projecting -----------------------------------------------------------------------------------


def sent(photo: bytes, name: str = "me.png", **more: str) -> dict[str, Any]:
    return {"data": {"run": "stylegan", "steps": "3"} | more, "files": {"photo": (name, photo)}}


def png() -> bytes:
    out = io.BytesIO()
    scene(40, 30).save(out, "PNG")
    return out.getvalue()


def after(client: TestClient, answer: object) -> tuple[str, str]:
    """The job's name and how it ended."""
    assert answer.status_code == 303, answer.text  # pyright: ignore[reportAttributeAccessIssue]
    name = answer.headers["location"].partition("job=")[2]  # pyright: ignore[reportAttributeAccessIssue]
    jobs = jobs_of(client)
    until = time.monotonic() + 120
    while (job := jobs.get(name)) is None or job.state not in ("done", "failed"):
        assert time.monotonic() < until
        assert client.get(f"/projection?job={name}").status_code == 200
        time.sleep(0.2)
    return name, job.state


def test_a_picture_is_projected_and_explored_from_there(client: TestClient, trained: Path):
    name, state = after(client, client.post("/explore/project", headers=OWN, **sent(png())))
    assert state == "done"
    page = client.get(f"/projection?job={name}").text
    assert f"/explore?run=stylegan&amp;projected={name}" in page
    side_by_side = Image.open(io.BytesIO(client.get(f"/projected.png?job={name}").content))
    assert side_by_side.width > 2 * side_by_side.height
    (file,) = (trained / ".studio" / "uploads").rglob("*-projected.safetensors")
    generator = load_generator(Run(trained / "stylegan").saved_generator(), "cpu")
    (wanted,) = np.concatenate(list(generate_from_w(generator, load_file(file)["w"].float())))
    assert np.array_equal(shown(client, projected=name), wanted[..., 0])
    assert (shown(client, projected=name, across=1) != wanted[..., 0]).any()
    assert np.array_equal(shown(client, projected=name, across=1, seed=5), shown(client, seed=6))
    assert np.array_equal(shown(client, projected=name, other=9, layer=0), shown(client, seed=9))
    explored = client.get(f"/explore?run=stylegan&projected={name}").text
    assert f'name="projected" value="{name}"' in explored
    other = client.get("/generated.png", params={"run": "dcgan", "projected": name})
    assert other.status_code == 200 or "another generator" in other.text
    file.unlink()
    gone = client.get("/generated.png", params={"run": "stylegan", "projected": name})
    assert gone.status_code == 422
    assert "no longer there" in gone.text


def test_of_another_size_a_projection_is_told(trained: Path, tmp_path: Path):
    from hasama.errors import HasamaError
    from hasama.generators.generator_file import save_tensors
    from hasama.studio.exploring import Explorer

    save_tensors(tmp_path / "w.safetensors", {"w": torch.zeros(1, 9)}, {})
    with pytest.raises(HasamaError, match="another generator"):
        Explorer().picture(Run(trained / "stylegan"), {}, tmp_path / "w.safetensors")


def test_what_cannot_be_projected_is_told(client: TestClient):
    name, state = after(client, client.post("/explore/project", headers=OWN, **sent(b"no picture")))
    assert state == "failed"
    assert "not a picture" in client.get(f"/projection?job={name}").text
    wrongs: tuple[dict[str, Any], ...] = (
        {"data": {"run": "stylegan", "steps": "3"}},
        sent(png(), steps="0"),
        sent(png(), steps="many"),
        sent(png(), run="../x"),
        sent(png(), "me.html"),
    )
    for wrong in wrongs:
        assert client.post("/explore/project", headers=OWN, **wrong).status_code == 422


@pytest.mark.parametrize("job", ["../x", "", "nothing", "%2e%2e"])
def test_projections_are_named_by_jobs_alone(client: TestClient, job: str):
    for page in ("/projection", "/projected.png"):
        assert client.get(f"{page}?job={job}").status_code == 422
    if job:
        assert client.get(f"/explore?run=stylegan&projected={job}").status_code == 422
        assert client.get(f"/generated.png?run=stylegan&projected={job}").status_code == 422


# --- the best -------------------------------------------------------------------------------------


def test_the_best_generator_is_shown_when_it_is_clearly_better(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(trained / "stylegan", tmp_path / "stylegan")
    run = Run(tmp_path / "stylegan")
    done = hasama_here("train", "digits", "stylegan", "--size", 16, "--width", 4, "--batch", 4, "--latent-size", 8,
                       "--steps", 8, "--seed", 5, "--threads", 1, "--out", tmp_path / "better")  # fmt: skip
    assert done.returncode == 0
    shutil.copy(Run(tmp_path / "better").saved_generator(), run.best)
    with TestClient(make_studio(tmp_path, [HOST], "x"), base_url=f"http://{HOST}") as client:
        last = shown(client, seed=3)
        assert "is clearly better" not in client.get("/explore?run=stylegan").text
    told = "KID 0.1 at 3 kimg"
    monkeypatch.setattr("hasama.studio.exploring.clearly_better", lambda best, log: told if best.exists() else None)
    with TestClient(make_studio(tmp_path, [HOST], "x"), base_url=f"http://{HOST}") as client:
        assert (shown(client, seed=3) != last).any()
        assert np.array_equal(shown(client, seed=3), shown(client, run="better", seed=3))
        assert "KID 0.1 at 3 kimg" in client.get("/explore?run=stylegan").text
