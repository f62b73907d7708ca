"""What can be known of the Dockerfile without Docker: that it copies what there is, and installs what we test."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """(FROM, python:...), ...: one for each instruction, its lines joined."""
    lines = [line for line in TEXT.splitlines() if line and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [line.split(maxsplit=1) for line in joined.splitlines()]
    return [(name, rest) for name, rest in found]


def all_of(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def test_every_instruction_is_one():
    known = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "USER", "ENV", "VOLUME", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in instructions()} <= known
    assert instructions()[0][0] == "FROM"


def test_the_base_is_pinned_and_of_a_python_that_we_take():
    (base,) = all_of("FROM")
    found = re.fullmatch(r"python:(\d+)\.(\d+)\.\d+-slim-\w+", base)
    assert found
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    least = re.fullmatch(r">=(\d+)\.(\d+)", project["requires-python"])
    assert least
    assert tuple(map(int, found.groups())) >= tuple(map(int, least.groups()))


def test_what_is_copied_exists_and_is_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = {word.removeprefix("./") for rest in all_of("COPY") for word in rest.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    assert copied == kept
    assert "*" in ignored


def test_what_the_build_reads_is_copied():
    """Without these `pip install .` would fail."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    copied = " ".join(all_of("COPY"))
    needed = [project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"]
    assert all(Path(name).parts[0] in copied.split() for name in needed)
    assert (ROOT / project["tool"]["hatch"]["version"]["path"]).is_relative_to(ROOT / "src")


def test_pip_keeps_to_the_constraints_and_the_extras_exist():
    installs = [rest for rest in all_of("RUN") if "pip install" in rest]
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in rest and "--no-cache-dir" in rest for rest in installs)
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    (extras,) = [rest.partition("=")[2] for rest in all_of("ARG") if rest.startswith("EXTRAS=")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {*extras.split(",")} <= {*project["optional-dependencies"]}


def test_torch_comes_from_pips_own_index_unless_somebody_names_another():
    (index,) = [rest.partition("=")[2] for rest in all_of("ARG") if rest.startswith("TORCH_INDEX=")]
    assert index == ""
    torch = next(rest for rest in all_of("RUN") if rest.endswith("torch"))
    for chosen, words in (("", []), ("the index", ["--index-url", "the index"])):
        shown = torch.replace("pip install", 'printf "%s\\n"', 1)
        done = subprocess.run(
            ["sh", "-c", shown], env={"TORCH_INDEX": chosen}, capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines() == ["--no-cache-dir", *words, "--constraint", "constraints.txt", "torch"]


def test_it_runs_as_nobody_in_particular_and_hears_signals():
    names = [name for name, _ in instructions()]
    assert all_of("USER") == ["hasama"]
    assert names.index("USER") > max(number for number, name in enumerate(names) if name in ("RUN", "COPY"))
    assert json.loads(all_of("ENTRYPOINT")[0]) == ["hasama"]
    variables = dict(word.split("=", 1) for rest in all_of("ENV") for word in rest.split())
    assert variables["OMP_WAIT_POLICY"] == "passive"
    volumes = json.loads(all_of("VOLUME")[0])
    assert variables["HASAMA_CACHE"] in volumes
    assert all(place.startswith("/home/hasama/") for place in volumes), "which the user may write to"
