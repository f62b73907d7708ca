"""The picture that is painted: how it is read, where it begins, what moves it, how it is cut into tiles.

Its face: `canvas.Canvas`, `pictures.Picture`, `tiles.cut_up`.
"""
