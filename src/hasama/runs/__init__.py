"""A training on disk: the run folder, what keeps it up to date, resuming, the autopilot, the diagnosis.

Its face: `folder.Run`, `session.train`, `session.resume`, `fitting.fit`, `diagnosis.diagnose`.
"""
