"""The batch script: its header, its words, and when it goes back into the queue. SLURM is made of paper."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from command import TINY
from hasama.cluster.slurm import wall_time
from hasama.runs.folder import Run
from jobs import ENGINES, NASTY, SAYS_ITS_WORDS, job_text, program

KNOWN = {
    name
    for line in (
        "account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment constraint",
        "container container-id contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline",
        "delay-boot dependency distribution error exclude exclusive export export-file extra extra-node-info",
        "get-user-env gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags help",
        "hint hold ignore-pbs input job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem",
        "mem-bind mem-per-cpu mem-per-gpu mincpus network nice no-kill no-requeue nodefile nodelist nodes ntasks",
        "ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output overcommit",
        "oversubscribe parsable partition power prefer priority profile propagate qos quiet reboot requeue",
        "reservation signal sockets-per-node spread-job switches test-only thread-spec threads-per-core time",
        "time-min tmp tres-bind tres-per-task uid usage use-min-nodes verbose wait wait-all-nodes wckey wrap",
    )
    for name in line.split()
}  # fmt: skip
"""The long options of sbatch, by its manual."""

SRUN = '#!/bin/bash\necho $$ > task\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n'
SCONTROL = '#!/bin/bash\ncase $1 in show) echo node-7; echo node-8 ;; requeue) echo "$2" >> requeued ;; esac\n'
SCANCEL = '#!/bin/bash\n[ "$*" = "--signal=TERM 4711.0" ] && kill -TERM "$(cat task)"\n'
PYTHON = '#!/bin/bash\nexit "$STANDS"\n'
HASAMA = """#!/bin/bash
trap 'echo TERM >> signals' TERM
mkdir -p run
touch started
for _ in {1..400}; do
    [ -n "$ALONE" ] && exit "$CODE"
    [ -e run/stop ] || [ -e signals ] && { sleep 0.2; exit "$CODE"; }
    sleep 0.05
done
exit 99
"""


def script(folder: Path, *words: object, options: tuple[str, ...] = ()) -> Path:
    """The batch script in a file."""
    place = folder / "job.sh"
    place.write_text(job_text("slurm", *ENGINES["slurm"], *options, *words))
    return place


def header(*words: object, options: tuple[str, ...] = ()) -> dict[str, str]:
    found = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", job_text("slurm", *options, *words), flags=re.MULTILINE)
    return dict(found)


def paper_slurm(folder: Path, **programs: str) -> dict[str, str]:
    """A folder of programs that play SLURM, and the variables with which a script finds them."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "scancel": SCANCEL, **programs}.items():
        program(bin_folder, name, text)
    found = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node-[7-8]"}
    return dict(os.environ) | found


def until(happened: Callable[[], object], seconds: float = 90) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


# --- what stands in it ----------------------------------------------------------------------------


def test_the_header_is_made_of_options_that_sbatch_knows():
    options = ("--nodes", "2", "--gpus", "4", "--gpu-type", "h100", "--hours", "30.5", "--memory", "64GB",
               "--cpus", "3", "--partition", "short,long", "--account", "me", "--name", "cats",
               "--notice", "10")  # fmt: skip
    found = header("train", "digits", "dcgan", options=options)
    assert {*found} <= KNOWN
    assert not {f"{name}x" for name in found} & KNOWN, "a misspelt one would be found"
    wanted = {"nodes": "2", "ntasks-per-node": "1", "cpus-per-task": "12", "gpus-per-node": "h100:4", "mem": "64000M",
              "time": "1-06:30:00", "signal": "B:USR1@600", "partition": "short,long", "account": "me",
              "job-name": "cats", "open-mode": "append", "requeue": ""}  # fmt: skip
    assert {name: found.get(name) for name in wanted} == wanted


def test_what_was_not_asked_for_is_left_to_the_cluster():
    assert not {"partition", "account", "gpus-per-node", "mem", "time"} & {*header("train", "digits", "dcgan")}


@pytest.mark.parametrize(("hours", "text"), [(0.1, "0-00:06:00"), (1.51, "0-01:31:00"), (49, "2-01:00:00")])
def test_wall_time(hours: float, text: str):
    assert wall_time(hours) == text


SCRIPTS = {
    "one process": ((), ("train", "digits", "dcgan")),
    "several machines": (("--nodes", "2", "--gpus", "2"), ("train", "digits", "dcgan", "--out", "my runs/it's")),
    "an image": (("--image", "hasama 1.sif".replace(" ", "-"), "--gpus", "2"), ("train", "digits", "dcgan")),
    "an environment": (("--python-env", "/opt/my envs/gan"), ("sweep", "digits", "dcgan")),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_shell_has_nothing_against_it(name: str, tmp_path: Path):
    options, words = SCRIPTS[name]
    place = script(tmp_path, *words, options=options)
    subprocess.run(["bash", "-n", str(place)], check=True)
    checker = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    if checker:
        done = subprocess.run([checker, str(place)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def started(folder: Path, *words: object, options: tuple[str, ...] = ()) -> list[str]:
    """The words with which the script calls srun."""
    variables = paper_slurm(folder, srun=SAYS_ITS_WORDS, python="#!/bin/bash\nexit 0\n")
    place = script(folder, *words, options=options)
    done = subprocess.run(["bash", str(place)], capture_output=True, text=True, cwd=folder, env=variables, check=True)
    return json.loads(done.stdout)


def test_torchrun_understands_its_flags(tmp_path: Path):
    from torch.distributed.run import get_args_parser

    words = started(tmp_path, "train", "digits", "dcgan", options=("--nodes", "2", "--gpus", "4"))
    assert words[:3] == ["--kill-on-bad-exit=1", "--cpus-per-task=8", "torchrun"]
    flags = get_args_parser().parse_args(words[3:])
    assert (flags.nnodes, flags.nproc_per_node, flags.rdzv_backend) == ("2", "4", "c10d")
    assert (flags.rdzv_endpoint, flags.rdzv_id) == ("node-7:24711", "4711")
    assert (flags.module, flags.training_script) == (True, "hasama")
    assert flags.training_script_args[:3] == ["train", "digits", "dcgan"]
    flags = get_args_parser().parse_args(started(tmp_path, "train", "digits", options=("--processes", "2"))[3:])
    assert (flags.standalone, flags.nnodes, flags.nproc_per_node) == (True, "1", "2")


def test_words_reach_the_program_as_they_were_typed(tmp_path: Path):
    for word in NASTY:
        folder = tmp_path / f"pictures {word}"
        folder.mkdir()
        typed = ["train", str(folder), "dcgan", "--only", f"a{word}", "--out", f"runs/{word}"]
        assert started(tmp_path, *typed)[2:] == ["hasama", *typed]


def test_an_image_holds_the_training_and_what_asks_for_it(tmp_path: Path):
    text = job_text("slurm", "--image", "docker://x/hasama:1", "--gpus", "1", "train", "digits", "dcgan")
    assert "work=(apptainer exec --nv docker://x/hasama:1 hasama train digits" in text
    assert (
        "standing=(apptainer exec --nv docker://x/hasama:1 python -m hasama.cluster.standing runs/digits-dcgan)"
        in text
    )


# --- when it goes back into the queue -------------------------------------------------------------


class Case(NamedTuple):
    """A turn: which signals the script gets, how the command ends, what the run folder says; what becomes of it."""

    signals: tuple[int, ...]
    code: int
    stands: int
    ends: int
    again: bool


USR1, TERM = signal.SIGUSR1, signal.SIGTERM
TRAINING = {
    "the time is over": Case((USR1,), 0, 75, 0, True),
    "torchrun hides how its workers ended": Case((USR1,), 1, 75, 0, True),
    "asked when it was nearly done": Case((USR1,), 0, 0, 0, False),
    "nothing was saved": Case((USR1,), 0, 1, 1, False),
    "scancel, or preemption": Case((TERM,), 0, 75, 0, False),
    "preemption, then the time is over": Case((TERM, USR1), 0, 75, 0, True),
    "done": Case((), 0, 0, 0, False),
    "stopped by hasama stop": Case((), 0, 75, 0, False),
    "it asks for another turn": Case((), 75, 75, 0, True),
    "it crashed": Case((), 3, 75, 3, False),
    "it was refused": Case((), 2, 2, 2, False),
}
OTHERS = {
    "the time is over": Case((USR1,), 130, 9, 0, True),
    "asked twice": Case((USR1, USR1), 130, 9, 0, True),
    "done in time": Case((USR1,), 0, 9, 0, False),
    "done": Case((), 0, 9, 0, False),
    "refused": Case((), 2, 9, 2, False),
    "scancel": Case((TERM,), 130, 9, 130, False),
}


def play(folder: Path, text: str, cases: dict[str, Case]) -> None:
    """Play all turns at once, each in a folder of its own; in each the command is made of paper, too."""
    running = []
    for name, case in cases.items():
        place = folder / name
        place.mkdir()
        (place / "job.sh").write_text(text)
        variables = paper_slurm(place, hasama=HASAMA, python=PYTHON)
        variables |= {"CODE": str(case.code), "STANDS": str(case.stands), "ALONE": "" if case.signals else "yes"}
        running.append((name, case, place, subprocess.Popen(["bash", "job.sh"], cwd=place, env=variables)))
    for _, case, place, process in running:
        if case.signals:
            until((place / "started").exists)
        for number in case.signals:
            process.send_signal(number)
            time.sleep(0.1)
            if case.signals == (TERM,) and "work=(hasama teach" in text:
                (place / "signals").write_text("from scancel\n")  # which tells the command, too
    for name, case, place, process in running:
        assert process.wait(60) == case.ends, name
        assert (place / "requeued").exists() == case.again, name
        assert not (place / "run/stop").exists(), name
        if case.again:
            assert (place / "requeued").read_text() == "4711\n"


def test_a_training_goes_on_until_its_run_is_done(tmp_path: Path):
    play(tmp_path, job_text("slurm", "train", "digits", "dcgan", "--out", "run"), TRAINING)


def test_other_commands_are_asked_once_by_a_signal(tmp_path: Path, pictures: Path):
    painting = next(pictures.rglob("*.png"))
    play(tmp_path, job_text("slurm", "teach", painting, "--out", "night.safetensors"), OTHERS)
    assert (tmp_path / "asked twice/signals").read_text() == "TERM\n"


def real(folder: Path) -> dict[str, str]:
    """Everything is real but SLURM; torchrun has but one process."""
    python = f'#!/bin/bash\nexec "{sys.executable}" "$@"\n'
    torchrun = '#!/bin/bash\nwhile [ "$1" != -m ]; do shift; done\nexec python "$@"\n'
    hasama = '#!/bin/bash\nexec python -m hasama "$@"\n'
    srun = SRUN.replace("exec", "touch started\nexec")
    return paper_slurm(folder, srun=srun, python=python, torchrun=torchrun, hasama=hasama) | {"OMP_NUM_THREADS": "1"}


def turn(folder: Path, variables: dict[str, str], when: Callable[[], object] | None) -> tuple[int, str]:
    """One turn of the script, which is told that its time is over when something has happened."""
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(
            ["bash", "job.sh"], cwd=folder, env=variables, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            if when is not None:
                until(when)
                process.send_signal(signal.SIGUSR1)
            code = process.wait(120)
        finally:
            process.kill()
    return code, (folder / "said.txt").read_text()


QUICK = [*TINY, "--health-kimg", "0", "--quality-kimg", "0", "--out", "my runs/cats"]


@pytest.mark.slow
def test_a_real_training_goes_back_into_the_queue(tmp_path: Path):
    """Its time is over before the run folder is there: whoever asks but once is not heard."""
    variables, run = real(tmp_path), Run(tmp_path / "my runs/cats")
    script(tmp_path, "train", "digits", "dcgan", *QUICK, "--kimg", "500", options=("--processes", "2"))
    code, said = turn(tmp_path, variables, (tmp_path / "started").exists)
    assert (code, run.images_seen() > 0) == (0, True), said
    assert f"stands at {run.images_seen() / 1000:g} of 500 kimg" in said
    assert (tmp_path / "requeued").read_text() == "4711\n"


@pytest.mark.slow
def test_a_real_training_goes_on_turn_by_turn_until_it_is_done(tmp_path: Path):
    variables, run = real(tmp_path), Run(tmp_path / "my runs/cats")
    script(tmp_path, "train", "digits", "dcgan", *QUICK, "--kimg", "500")
    turn(tmp_path, variables, (run.folder / "log.jsonl").exists)
    first, logged = run.images_seen(), run.log_file.stat().st_size
    code, said = turn(tmp_path, variables, lambda: run.log_file.stat().st_size > logged + 2000)
    second = run.images_seen()
    assert (code, second > first > 0) == (0, True), said
    assert (tmp_path / "requeued").read_text() == "4711\n4711\n"

    run.save_recipe(run.recipe().but(kimg=(second + 320) / 1000))
    script(tmp_path, "resume", "my runs/cats")
    code, said = turn(tmp_path, variables, None)
    assert (code, run.images_seen()) == (0, second + 320), said
    assert (tmp_path / "requeued").read_text() == "4711\n4711\n", "it is done"
