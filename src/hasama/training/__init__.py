"""The mathematics of adversarial training. It knows no files and no terminal.

Its face: `turns.play`, `setup.new_game`, `game.Game`; recipes choose from `rules`.
"""
