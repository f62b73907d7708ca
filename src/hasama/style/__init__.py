"""Style transfer: a picture is repainted until a network sees the content of one and the style of others in it.

Its face: `painting.stylize`, `transfer.repaint`, `recipe.StyleRecipe`, `painting_file.paint_file`, `film.paint_film`.
"""
