"""The studio's jobs as quick processes."""

from types import SimpleNamespace

import pytest

from command import fork_instead


@pytest.fixture(autouse=True)
def forked_jobs(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Jobs of a studio in this process are forked, unless a test has the mark `real_jobs`."""
    import subprocess

    from hasama.studio import jobs  # after the hook that checks shapes

    if request.node.get_closest_marker("real_jobs") is None:
        monkeypatch.setattr(jobs, "subprocess", SimpleNamespace(Popen=fork_instead, DEVNULL=subprocess.DEVNULL))
