"""Figures of two sets of features or samples: distances, neighbours, intervals, modes. Pure functions.

Its face: `distances.fid`, `distances.kid`, `neighbours.coverage`, `intervals.figures_of`, `modes.coverage_of_points`.
"""
