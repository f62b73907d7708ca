"""A training on disk: the run folder, what keeps it up to date, resuming, the autopilot.

`reports`: what a run shows of itself.

Its face: `folder.Run`, `session.train`, `session.resume`, `fitting.fit`.
"""
