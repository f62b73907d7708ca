"""What is minimised: content and style losses, the moments that styles are made of, the objective of a canvas.

Its face: `objective.Objective`, `objective.loss_and_gradient`, `moments.moments`, `losses.STYLE_LOSSES`.
"""
