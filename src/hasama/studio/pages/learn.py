"""The pages that teach: lessons, each with a live experiment, and a quiz before and after them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hasama.errors import HasamaError
from hasama.studio.pages.page import Studio
from hasama.studio.pages.ring import choices
from hasama.studio.words import lessons, quiz

SCORE = "hasama-quiz-"
QUIZZES = ("before", "after")
YEAR = 365 * 86400


class Experiment(NamedTuple):
    """Which experiment stands on a lesson's page, and how it is set at first."""

    template: str
    script: str
    chosen: Mapping[str, Any] = MappingProxyType({})


# Of "strong" and "one-mode" the first settings do what the lesson warns of, and its remedy cures it.
EXPERIMENTS = {
    "game": Experiment("ring_game.html", "ring.js"),
    "strong": Experiment(
        "ring_game.html", "ring.js", {"objective": "minimax", "discriminator_lr": 0.02, "generator_lr": 0.001}
    ),
    "one-mode": Experiment("ring_game.html", "ring.js", {"generator_lr": 0.02, "discriminator_lr": 0.001}),
    "dirac": Experiment("dirac_game.html", "dirac.js"),
    "convolution": Experiment("overlap_game.html", "overlap.js"),
    "growing": Experiment("growing_game.html", "growing.js"),
    "style": Experiment("shuffle_game.html", "shuffle.js"),
    "neighbour": Experiment("shuffle_game.html", "shuffle.js", {"places": True}),
}


def learn(studio: Studio, request: Request) -> Response:
    """All lessons, and the two quizzes."""
    language = studio.words(request).language
    of = {which: len(quiz(language, which)) for which in QUIZZES}
    return studio.page(request, "learn.html", lessons=lessons(language), scores=_scores(request), of=of)


def lesson(studio: Studio, request: Request) -> Response:
    """One lesson.

    Raises:
        HasamaError: there is no such lesson.
    """
    all_of_them, name = lessons(studio.words(request).language), request.query_params.get("lesson", "")
    places = [number for number, one in enumerate(all_of_them) if one.id == name]
    if not places:
        raise HasamaError("There is no such lesson.")
    place, experiment = places[0], EXPERIMENTS[name]
    around = {"before": all_of_them[place - 1] if place else None, "after": None}
    if place + 1 < len(all_of_them):
        around["after"] = all_of_them[place + 1]
    return studio.page(
        request, "lesson.html", lesson=all_of_them[place], number=place + 1, of=len(all_of_them), around=around,
        experiment=experiment, **choices(studio, request, **experiment.chosen),
    )  # fmt: skip


def quiz_page(studio: Studio, request: Request) -> Response:
    """A quiz; with answers in the query, what is right and why.

    Raises:
        HasamaError: there is no such quiz.
    """
    which = request.query_params.get("which", "")
    if which not in QUIZZES:
        raise HasamaError("There is no such quiz.")
    questions = quiz(studio.words(request).language, which)
    given = [request.query_params.get(f"q{number}", "") for number in range(len(questions))]
    right = sum(answer == str(one.right) for one, answer in zip(questions, given, strict=True))
    answered, scores = any(given), _scores(request)
    if answered:
        scores[which] = right
    answer = studio.page(
        request, "quiz.html", which=which, questions=questions, given=given, right=right, answered=answered,
        scores=scores,
    )  # fmt: skip
    if answered:
        answer.set_cookie(SCORE + which, str(right), max_age=YEAR, samesite="strict", httponly=True)
    return answer


def _scores(request: Request) -> dict[str, int | None]:
    """How many were right last time, by quiz."""
    kept = {which: request.cookies.get(SCORE + which, "") for which in QUIZZES}
    return {which: int(text) if text.isascii() and text.isdigit() else None for which, text in kept.items()}


def dirac(studio: Studio, request: Request) -> Response:
    """The Dirac-GAN's phase portrait."""
    from hasama.studio.experiments import Portrait  # memory: torch comes with it, and not before it is needed

    return JSONResponse(Portrait.of(request.query_params).told())


def growing(studio: Studio, request: Request) -> Response:
    """What a growing discriminator is shown."""
    return Response(studio.experiments.growing(request.query_params), media_type="image/png")


def shuffled(studio: Studio, request: Request) -> Response:
    """A picture with its patches in another order."""
    return Response(studio.experiments.shuffled(request.query_params), media_type="image/png")


def distances(studio: Studio, request: Request) -> Response:
    """How far that is from the picture."""
    return JSONResponse(studio.experiments.distances(request.query_params))
