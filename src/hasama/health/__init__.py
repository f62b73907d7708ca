"""Is a training healthy? From figures to words: signals that are measured, checks that read them, remedies.

Checks are pure functions of a run's log. Its face: `signals.Probe`, `checks.examine`, `findings.Finding`.
"""
