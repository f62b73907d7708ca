"""Which recipe is right for these pictures and this machine: advice before the training, and a search by short runs.

Its face: `suggest.choose_form`, `suggest.choose_rest`, `sweep.sweep`.
"""
