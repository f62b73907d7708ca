"""The autopilot: on a serious finding the run returns to its last healthy state and goes on with a remedy.

`healthy/000120000.pt` are copies of the checkpoint from looks at which nothing serious was found. `autopilot.json`
lists what was done, `autopilot/` keeps what was given up; recipe.json is always the recipe that is used now. An
intervention is written down before it is carried out, and carrying it out twice does no harm: so a run that is killed
in the middle of one goes on as if it had not been killed.
"""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hasama.errors import HasamaError
from hasama.files import read_json, replacing, size_of, write_json
from hasama.health.check_generator import EARLY
from hasama.health.checks import examine
from hasama.health.findings import Finding, up_to_last_look
from hasama.health.remedies import Remedy
from hasama.presets import gentle_rates
from hasama.recipe import Recipe
from hasama.runs.folder import Run

if TYPE_CHECKING:
    from hasama.training.game import Record

ATTEMPTS = 3
KEPT = 4  # healthy states
SHARES = 16  # a healthy state every so many-th of the run

NEW_NETWORKS = (
    *("architecture", "width", "generator_width", "generator_blocks", "generator_attention", "latent_size"),
    *("generator_norm", "discriminator_norm", "discriminator_layers", "spectral_norm", "augment", "freeze_d"),
    *("self_modulation", "minibatch_std"),
)
"""Fields that need new networks, for which a checkpoint is of no use: when one changes, the run begins anew."""


class Intervention(NamedTuple):
    """What the autopilot did, or is about to do.

    Attributes:
        finding: the name of the finding.
        found_at: images seen when it was found.
        back_to: images seen of the state that the run went back to.
        changes: fields of the recipe that changed.
        flags: the same as flags of the command.
        why: in words.
        done: whether it has been carried out.
    """

    finding: str
    found_at: int
    back_to: int
    changes: dict[str, Any]
    flags: str
    why: str
    done: bool = False


def piloted(run: Run, begin: Callable[[], Iterator["Record"]]) -> Iterator["Record"]:
    """Pass records on; on a serious finding go back, change the recipe, and begin again.

    Args:
        run: whose health.jsonl is watched.
        begin: goes on from the run's checkpoint by the run's recipe.

    Raises:
        HasamaError: what `begin` raises, when the remedies are used up.
    """
    if pending := [one for one in interventions(run) if not one.done]:
        _carry_out(run, pending[-1])
    while True:
        records, finding, told = begin(), None, -1
        try:
            for record in records:
                yield record
                if (size := size_of(run.health_file)) != told:
                    told = size
                    if finding := unanswered(run):
                        break
        except HasamaError:
            if not (finding := unanswered(run)):
                raise
        finally:
            _close(records)
        if finding is None:
            return
        _intervene(run, finding)


def _close(records: Iterator["Record"]) -> None:
    if hasattr(records, "close"):
        records.close()  # type: ignore[attr-defined]


BEYOND_FLAGS = ("too-few",)
"""Findings that no remedy can remove, so that going back would be useless."""


def unanswered(run: Run) -> Finding | None:
    """A serious finding at the last look for which there is a remedy and an attempt left.

    A finding that no longer holds does not count: it may be from before the autopilot was switched on.
    """
    if len(interventions(run)) >= ATTEMPTS:
        return None
    found = examine(up_to_last_look(run.log(), judged_from(run)), in_force(run, run.recipe()), run.images())
    return next(iter(to_answer(found)), None)


def to_answer(found: Sequence[Finding]) -> list[Finding]:
    """The serious ones, for which it would go back: there is a remedy."""
    return [one for one in found if one.severity == "serious" and one.remedies and one.name not in BEYOND_FLAGS]


def in_force(run: Run, recipe: Recipe) -> Recipe:
    """The recipe by which a run of this one is played: after a stage of half the size with what the autopilot changed
    there, unless it has been changed again since, and at gentle rates; it begins with that stage's networks.

    Raises:
        HasamaError: a record of the autopilot is damaged.
    """
    if not recipe.small_kimg:
        return recipe
    small = run.small()
    changes: dict[str, Any] = {}
    for one in (*interventions(small), *interventions(run)):
        changes |= one.changes
    recipe = Recipe.from_dict(recipe.to_dict() | changes | {"init_from": str(small.folder)})
    return recipe.but(**gentle_rates(recipe))


def judged_from(run: Run) -> int:
    """Images seen from which on the log counts: what was logged before the last remedy says nothing about it."""
    return max((one.back_to for one in interventions(run)[-1:]), default=0)


def chosen(remedies: Sequence[Remedy], before: list[Intervention]) -> Remedy:
    """The first of a finding's remedies that was not yet tried; the first, if all were."""
    tried = {one.why for one in before}
    return next((remedy for remedy in remedies if remedy.why not in tried), remedies[0])


def trusted(states: list[int], finding: Finding, before: list[Intervention], early: int) -> int:
    """The healthy state to return to, in images seen; 0 for none.

    Not one from the first `early` images, when there are hardly any findings yet; nor one after which the same
    finding came again, which therefore was not healthy.
    """
    failed = min((one.back_to for one in before if one.finding == finding.name), default=math.inf)
    return max((state for state in states if early <= state <= finding.since and state < failed), default=0)


def _intervene(run: Run, finding: Finding) -> None:
    before = interventions(run)
    remedy = chosen(finding.remedies, before)
    anew = any(name in NEW_NETWORKS for name in remedy.changes)
    states = [] if anew else healthy_states(run)
    back_to = trusted(states, finding, before, EARLY * run.recipe().batch)
    one = Intervention(finding.name, finding.images_seen, back_to, remedy.changes, remedy.flags, remedy.why)
    _write(run, original_recipe(run), [*before, one])
    _carry_out(run, one)


def _carry_out(run: Run, one: Intervention) -> None:
    run.save_recipe(Recipe.from_dict(run.recipe().to_dict() | one.changes))
    kept = run.folder / "autopilot" / f"attempt-{len(interventions(run))}.json"
    if abandoned := [line for line in run.log() if line["images_seen"] > one.back_to]:
        write_json(kept, abandoned)
    if one.back_to:
        with replacing(run.checkpoint) as temporary:
            shutil.copyfile(healthy_file(run, one.back_to), temporary)
    else:  # it may be the work of days, and the finding may be wrong; a generator alone is no run to go on with
        kept.parent.mkdir(parents=True, exist_ok=True)
        for file in (run.generator, run.checkpoint):
            if file.exists():
                file.replace(kept.with_suffix(file.suffix))
    run.cut_log(one.back_to)
    _write(run, original_recipe(run), [*interventions(run)[:-1], one._replace(done=True)])


def _write(run: Run, original: Recipe, done: list[Intervention]) -> None:
    write_json(run.autopilot_file, {"recipe": original.to_dict(), "interventions": [one._asdict() for one in done]})


def interventions(run: Run) -> list[Intervention]:
    """What the autopilot has done to a run, oldest first.

    Raises:
        HasamaError: autopilot.json is damaged.
    """
    if not run.autopilot_file.exists():
        return []
    try:
        done = [Intervention(**one) for one in read_json(run.autopilot_file, "record")["interventions"]]
        for one in done:
            if not (isinstance(one.found_at, int) and isinstance(one.back_to, int) and isinstance(one.changes, dict)):
                raise TypeError("an intervention without its numbers")
        return done
    except (TypeError, KeyError) as error:
        raise HasamaError(f"The autopilot's record {run.autopilot_file} is damaged: {error}.") from error


def original_recipe(run: Run) -> Recipe:
    """The recipe that the user asked for, before any intervention."""
    if not interventions(run):
        return run.recipe()
    return Recipe.from_dict(read_json(run.autopilot_file, "record")["recipe"])


# --- healthy states -------------------------------------------------------------------------------


def healthy_file(run: Run, images_seen: int) -> Path:
    """The copy of the checkpoint from then."""
    return run.folder / "healthy" / f"{images_seen:09d}.pt"


def healthy_states(run: Run) -> list[int]:
    """Images seen of the healthy states that are kept."""
    return sorted(int(file.stem) for file in (run.folder / "healthy").glob("*.pt") if file.stem.isdigit())


def keep_healthy(run: Run, images_seen: int) -> None:
    """Keep a copy of the checkpoint, just saved, as a healthy state; the oldest of too many go."""
    with replacing(healthy_file(run, images_seen)) as temporary:
        shutil.copyfile(run.checkpoint, temporary)
    for old in healthy_states(run)[:-KEPT]:
        healthy_file(run, old).unlink()


def forget_later(run: Run, images_seen: int) -> None:
    """Before going on from a checkpoint: delete the healthy states after it, which will be made again."""
    for state in healthy_states(run):
        if state > images_seen:
            healthy_file(run, state).unlink()
