"""Networks that paint at once: taught once, by one or several paintings, they paint any picture in a blink.

Its face: `painter.Painter`, `teaching.teach`, `painter_file.load_painter`, `at_once.paint_at_once`.
"""
