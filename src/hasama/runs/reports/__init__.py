"""What a run shows of itself: its losses as a plot, its samples as a grid, its health in words and as a page; and to
those who look for a fault, what it and its machine are, without a name that is nobody's business.

Its face: `plot.plot_losses`, `samples.sample_grid`, `diagnosis.diagnose`, `diagnosis_page.save_page`,
`bug_report.bug_report`.
"""
