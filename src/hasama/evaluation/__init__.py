"""How good a generator is: figures against real pictures, and mode coverage on data whose modes are known.

Its face: `evaluate.evaluate`, `coverage.cover`.
"""
