"""What the two networks are rewarded and charged for, and whose turn it is: pure functions, without a game.

Its face: `objectives.OBJECTIVES`, `penalties.PENALTIES`, `balance.BALANCES`, `checkerboard.checkerboard`, and for
penalties `second_derivative.fast_second_derivatives`.
"""
