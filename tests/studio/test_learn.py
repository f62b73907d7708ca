"""The lessons of the studio: the same in all languages, experiments that do what they say, quizzes that count."""

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

starlette = pytest.importorskip("starlette")
pytest.importorskip("python_multipart")

from starlette.testclient import TestClient  # noqa: E402

from hasama.studio.app import make_studio  # noqa: E402
from hasama.studio.pages.learn import EXPERIMENTS, QUIZZES  # noqa: E402
from hasama.studio.words import languages, lessons, quiz  # noqa: E402

HOST = "127.0.0.1:8765"


@pytest.fixture
def client(tmp_path: Path):
    with TestClient(make_studio(tmp_path, [HOST], "let-me-in"), base_url=f"http://{HOST}") as it:
        yield it


def picture(client: TestClient, address: str) -> np.ndarray:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


# --- what is taught -------------------------------------------------------------------------------


@pytest.mark.parametrize("language", languages())
def test_every_language_has_the_same_lessons_and_questions(language: str):
    assert [one.id for one in lessons(language)] == list(EXPERIMENTS)
    for ours, english in zip(lessons(language), lessons("en"), strict=True):
        assert len(ours.text) == len(english.text)
        assert all([ours.title, ours.attempt, *ours.text])
    for which in QUIZZES:
        assert len(quiz(language, which)) >= 12
        for one, english in zip(quiz(language, which), quiz("en", which), strict=True):
            assert one.right == english.right
            assert len(one.answers) == len(english.answers) == len(set(one.answers))
            assert 0 <= one.right < len(one.answers)
            assert one.ask
            assert one.why


def test_no_question_is_asked_twice_and_the_right_answer_is_not_always_at_the_same_place():
    asked = [one for which in QUIZZES for one in quiz("en", which)]
    assert len({one.ask for one in asked}) == len(asked)
    places = [one.right for one in asked]
    assert max(places.count(place) for place in set(places)) <= len(places) / 2


def test_languages_differ():
    for english, swahili in zip(lessons("en"), lessons("sw"), strict=True):
        assert english.attempt != swahili.attempt
        assert not set(english.text) & set(swahili.text)


@pytest.mark.parametrize("language", ["en", "sw"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_lesson_has_its_page(client: TestClient, name: str, language: str):
    answer = client.get(f"/learn/lesson?lesson={name}", headers={"accept-language": language})
    assert answer.status_code == 200
    assert f'<html lang="{language}">' in answer.text
    assert f"/static/{EXPERIMENTS[name].script}" in answer.text
    assert client.get(f"/static/{EXPERIMENTS[name].script}").status_code == 200


def test_lessons_lead_from_one_to_the_next(client: TestClient):
    names = list(EXPERIMENTS)
    for one, after in itertools.pairwise(names):
        assert f'rel="next" href="/learn/lesson?lesson={after}"' in client.get(f"/learn/lesson?lesson={one}").text
    assert "which=after" in client.get(f"/learn/lesson?lesson={names[-1]}").text


@pytest.mark.parametrize(
    "address", ["/learn/lesson?lesson=none", "/learn/lesson", "/learn/quiz?which=x", "/learn/quiz"]
)
def test_what_is_not_there_is_told(client: TestClient, address: str):
    answer = client.get(address)
    assert answer.status_code == 422
    assert "There is no such" in answer.text


# --- the quizzes ----------------------------------------------------------------------------------


def answers(which: str, wrong: int) -> str:
    chosen = [one.right if number >= wrong else (one.right + 1) % 2 for number, one in enumerate(quiz("en", which))]
    return f"/learn/quiz?which={which}&" + "&".join(f"q{number}={answer}" for number, answer in enumerate(chosen))


def test_a_quiz_counts_explains_and_is_remembered(client: TestClient):
    fresh = client.get("/learn/quiz?which=before").text
    assert quiz("en", "before")[0].why not in fresh.replace("&#39;", "'")
    of = len(quiz("en", "before"))
    told = client.get(answers("before", 3)).text.replace("&#39;", "'")
    assert f"You have {of - 3} of {of} right." in told
    assert quiz("en", "before")[0].why in told
    assert told.count('class="tick wrong"') == 3
    assert told.count('class="tick right"') == of
    assert f"Last time you had {of - 3} of {of} right." in client.get("/learn").text
    after = client.get(answers("after", 0)).text
    assert f"You have {len(quiz('en', 'after'))} of" in after
    assert f"Before the lessons it was {of - 3}." in after


def test_answers_that_are_none_are_wrong(client: TestClient):
    of = len(quiz("en", "before"))
    assert f"You have 0 of {of} right." in client.get("/learn/quiz?which=before&q0=%3Cb%3E&q1=-1&q2=1e9").text
    client.cookies.set("hasama-quiz-before", "\u0669" if False else "12x")
    assert client.get("/learn").status_code == 200


# --- the experiments ------------------------------------------------------------------------------


def test_a_growing_discriminator_is_shown_what_the_networks_are_shown(client: TestClient):
    whole = picture(client, "/learn/growing.png?at=4")
    assert whole.shape == (256, 256, 3)
    smallest = picture(client, "/learn/growing.png?at=0")
    blocks = smallest.reshape(4, 64, 4, 64, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    means = whole.reshape(4, 64, 4, 64, 3).mean((1, 3))
    assert np.abs(blocks[:, 0, :, 0] - means).max() < 1.5  # the mean of the pixels, rounded
    before, half, after = (picture(client, f"/learn/growing.png?at={at}").astype(float) for at in (2, 2.5, 3))
    assert np.abs(half - (before + after) / 2).max() <= 1
    assert (picture(client, "/learn/growing.png?at=4&seed=6") != whole).any()


def test_shuffled_patches_are_the_same_pixels_and_distances_tell_what_moved(client: TestClient):
    whole = picture(client, "/learn/shuffled.png?side=128")
    moved = picture(client, "/learn/shuffled.png?side=32")
    assert (whole != moved).any()
    assert sorted(map(tuple, whole.reshape(-1, 3).tolist())) == sorted(map(tuple, moved.reshape(-1, 3).tolist()))
    assert json.loads(client.get("/api/distances?side=128").text) == {"gram": 0.0, "places": 0.0}
    found = json.loads(client.get("/api/distances?side=64").text)
    assert 0 < found["gram"] < found["places"] / 2


def test_the_phase_portrait_ends_or_does_not(client: TestClient):
    def told(**query: object) -> dict:
        return client.get("/api/dirac", params={name: str(value) for name, value in query.items()}).json()

    out = told(objective="wasserstein", at_once=1)
    assert out["ends"] > 3
    assert len(out["path"]) < 301  # what leaves the picture is not drawn
    ended = told(objective="wasserstein", penalty="r1", gamma=1, theta=-1.5, psi=1)
    assert ended["ends"] < 0.01
    assert ended["path"][0] == [-1.5, 1.0]
    assert max(np.hypot(*arrow[2:]) for arrow in ended["arrows"]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "address",
    [
        *["/api/dirac?objective=none", "/api/dirac?penalty=x", "/api/dirac?rate=0", "/api/dirac?theta=nan"],
        *["/api/dirac?gamma=1e9", "/api/distances?side=5", "/api/distances?side=x", "/learn/shuffled.png?side=0"],
        *["/learn/growing.png?at=5", "/learn/growing.png?at=inf", "/learn/growing.png?seed=-1"],
    ],
)
def test_impossible_experiments_are_told(client: TestClient, address: str):
    answer = client.get(address)
    assert answer.status_code == 422, answer.text
