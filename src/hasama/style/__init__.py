"""Style transfer: a picture is repainted until a network sees the content of one and the style of others in it.

Its face: `painting.stylize`, `transfer.repaint`, `recipe.StyleRecipe`; for files and films its room `jobs`.
"""
