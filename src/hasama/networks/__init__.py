"""Networks and their layers. They know nothing of training or files; only `registry` knows the recipe.

Its face: `registry.build`, `registry.ARCHITECTURES`, `pair.Pair`. Each architecture is one file in `architectures/`.
"""
