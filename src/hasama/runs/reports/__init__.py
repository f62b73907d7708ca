"""What a run shows of itself: its losses as a plot, its samples as a grid, its health in words and as a page.

Its face: `plot.plot_losses`, `samples.sample_grid`, `diagnosis.diagnose`, `diagnosis_page.save_page`.
"""
