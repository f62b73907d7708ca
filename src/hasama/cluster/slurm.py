"""A batch script for SLURM that goes back into the queue until its run is done.

How the wish to save reaches a training: SLURM sends SIGUSR1 to the batch script alone (`--signal=B:USR1@SECONDS`),
and the script writes the run's `stop` file. A signal to the processes themselves would not do: torchrun hands on but
some signals, kills its workers 30 seconds later, and ends with code 1 whatever they ended with; versions of NCCL have
taken SIGUSR1 for themselves (facebookincubator/submitit 1697); and SLURM and torchrun together would send a SIGTERM
twice. For the same reason the script asks the run folder, not exit codes, whether the run is done (`standing.py`).
Commands that are one process and have no `stop` file get one SIGTERM, by `scancel`: srun, if it gets one, kills them.
"""

import shlex
from textwrap import dedent

from hasama.cluster.job import ONE_RUN, UNFINISHED, Job
from hasama.version import __version__

FIRST_PORT, PORTS = 20_000, 10_000
"""Of the ports at which the processes of a job meet each job takes one, by its number."""


def script(job: Job) -> str:
    """The batch script.

    Args:
        job: what is to be done.
    """
    body = _SAVED_BY_FILE if job.work.command in ONE_RUN else _SAVED_BY_SIGNAL
    return "\n".join(["#!/bin/bash", *_header(job), _ABOUT, *_environment(job), *_work(job), body])


def _header(job: Job) -> list[str]:
    options = job.options
    asked = {
        "job-name": job.name,
        "partition": options.partition,
        "account": options.account,
        "nodes": options.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": options.cpus * job.processes,
        "gpus-per-node": f"{options.gpu_type}:{options.gpus}".removeprefix(":") if options.gpus else "",
        "mem": f"{options.megabytes}M" if options.memory else "",
        "time": wall_time(options.hours) if options.hours else "",
        "signal": f"B:USR1@{60 * options.notice}",
        "requeue": None,
        "open-mode": "append",
        "output": f"{job.name}-%j.log",
    }
    given = {name: "" if value is None else f"={value}" for name, value in asked.items() if value != ""}
    return [f"#SBATCH --{name}{value}" for name, value in given.items()]


def wall_time(hours: float) -> str:
    """1.5 -> '0-01:30:00', rounded up to minutes, by which SLURM counts."""
    minutes = max(1, -int(-hours * 60 // 1))
    return f"{minutes // 1440}-{minutes // 60 % 24:02}:{minutes % 60:02}:00"


def _environment(job: Job) -> list[str]:
    lines = [f"export {name}={value}" for name, value in job.environment.items()]
    if job.options.image:  # whose own place for it cannot be written to
        lines.append('export HASAMA_CACHE="${HASAMA_CACHE:-$HOME/.cache/hasama}"')
    if job.options.python_env:
        place = job.options.python_env.rstrip("/") + "/bin"
        lines.append(f'export PATH={shlex.quote(place)}:"$PATH"')
    return lines


def _work(job: Job) -> list[str]:
    """The shell's variables: what is to be done, and where it stands."""
    options = job.options
    image = ["apptainer", "exec", *(["--nv"] if options.gpus else []), options.image] if options.image else []
    many = options.nodes > 1
    flags = [f"--nnodes={options.nodes}", f"--nproc-per-node={job.processes}", *(_MEET if many else ["--standalone"])]
    program = job.program(*flags)
    quoted = [word if word in flags else shlex.quote(word) for word in [*image, *program]]
    lines = ["", *_RENDEZVOUS.splitlines()] if many and job.is_spread else [""]
    lines.append(f"work=({' '.join(quoted)})")
    if job.work.command not in ONE_RUN:
        lines.append(f"keeps={'no' if job.work.command == 'evaluate' else 'yes'}  # its work, when it is broken off")
    if job.work.command in ONE_RUN:
        asks = [*image, "python", "-m", "hasama.cluster.standing", job.work.makes]
        lines += [f"run={shlex.quote(job.work.makes)}", f"standing=({shlex.join(asks)})"]
    step = ["srun", "--kill-on-bad-exit=1", f"--cpus-per-task={options.cpus * job.processes}"]
    return [*lines, f"step=({shlex.join(step)})"]


_ABOUT = f"""
# Made by Hasama {__version__}. Submit it in the folder from which the paths below are right:  sbatch FILE
"""

_MEET = ("--rdzv-backend=c10d", '--rdzv-endpoint="$first:$port"', '--rdzv-id="$SLURM_JOB_ID"')

_RENDEZVOUS = f"""\
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$(({FIRST_PORT} + SLURM_JOB_ID % {PORTS}))"""

_SAVED_BY_FILE = dedent(f"""\

    # Before the time is over SLURM sends USR1: the run is saved, and goes on in another turn. TERM is what preemption
    # and scancel send: the run is saved; what has been preempted SLURM itself puts back into the queue.
    asked=no
    trap 'asked=again' USR1
    trap '[ "$asked" = again ] || asked=save' TERM
    began=$(date +%s)

    "${{step[@]}}" "${{work[@]}}" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        if [ "$asked" = no ]; then
            wait "$pid"
        else
            # Again and again: a training that is only beginning takes away what asked an earlier one to stop.
            [ -d "$run" ] && touch "$run/stop"
            sleep 2 &
            wait "$!"
        fi
    done
    wait "$pid"
    code=$?
    rm -f "$run/stop"

    # {UNFINISHED}: not done, but further than before. A turn in which nothing was saved would be the first of many.
    "${{standing[@]}}" "--since=$began"
    stands=$?
    if [ "$stands" -eq {UNFINISHED} ]; then
        if [ "$asked" = again ] || [ "$code" -eq {UNFINISHED} ]; then
            exec scontrol requeue "$SLURM_JOB_ID"
        fi
    elif [ "$stands" -ne 0 ] && [ "$code" -eq 0 ]; then
        code=$stands
    fi
    exit "$code"
""")

_SAVED_BY_SIGNAL = dedent(f"""\

    # Before the time is over SLURM sends USR1 to this script, which asks the command to save, once: a second time
    # would mean "at once, without saving". What is not done then goes on in another turn.
    asked=no
    trap 'if [ "$asked" = no ]; then asked=again; scancel --signal=TERM "$SLURM_JOB_ID.0"; fi' USR1
    trap ':' TERM  # of preemption and scancel, which the command gets, too

    "${{step[@]}}" "${{work[@]}}" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        wait "$pid"
    done
    wait "$pid"
    code=$?
    if [ "$code" -eq {UNFINISHED} ] || {{ [ "$code" -ne 0 ] && [ "$asked" = again ] && [ "$keeps" = yes ]; }}; then
        exec scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$code"
""")
