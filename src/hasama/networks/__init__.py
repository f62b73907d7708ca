"""Networks and what they are made of. They know no game, no pictures on disk and no recipe but for `registry`.

Its face: `registry.build`, `registry.ARCHITECTURES`, `pair.Pair`. Each architecture is one file in `architectures/`.
"""
