"""Pictures that several processes, on several machines perhaps, paint together: each is painted by one of them."""

from collections.abc import Callable, Generator, Sequence
from typing import Literal, NamedTuple

import torch

from hasama.claims import Claim, Holder, claimed, holder_of
from hasama.errors import HasamaError
from hasama.style.jobs.job import Job


class Turn(NamedTuple):
    """What became of a job when it was its turn.

    Attributes:
        number: of the job, from 1.
        job: what was to be painted.
        state: 'painted' by this process, 'done' before, 'others' (another process paints it now) or 'failed'.
        holder: for 'others', who.
        error: for 'failed', why.
    """

    number: int
    job: Job
    state: Literal["painted", "done", "others", "failed"]
    holder: Holder | None = None
    error: HasamaError | None = None


def share(
    jobs: Sequence[Job], done: Callable[[Job], bool], paint: Callable[[int, Job, Claim], None]
) -> Generator[Turn, None, None]:
    """Paint every job that nobody else paints; then look again at those of others, as long as that gives work.

    So what a process that was killed has left is painted by whoever still has work, or comes later. Nobody waits: a
    job's last turn may be 'others'.

    Args:
        jobs: what is to be painted, by all processes together.
        done: whether a job is.
        paint: paints a job, given its number from 1, and writes nothing any more once the claim is lost.
    """
    waiting, worked = list(enumerate(jobs, 1)), True
    while waiting and worked:
        left, worked = [], False
        for number, job in waiting:
            try:
                turn = _turn(number, job, done, paint)
            except HasamaError as error:
                turn = Turn(number, job, "failed", error=error)
            if turn.state == "others":
                left.append((number, job))
            worked |= turn.state == "painted"
            yield turn
        waiting = left


def _turn(number: int, job: Job, done: Callable[[Job], bool], paint: Callable[[int, Job, Claim], None]) -> Turn:
    if done(job):  # asked without a claim: what is done may lie where nobody may write any more
        return Turn(number, job, "done")
    with claimed(job.out) as claim:
        if claim is None:
            return Turn(number, job, "others", holder_of(job.out) or Holder())
        if done(job):  # by another, in the meantime
            return Turn(number, job, "done")
        threads = torch.get_num_threads()
        try:
            paint(number, job, claim)
        finally:
            torch.set_num_threads(threads)  # a painting that is gone on with sets those that it was begun with
    return Turn(number, job, "others", Holder()) if claim.lost else Turn(number, job, "painted")
