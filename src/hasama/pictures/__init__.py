"""Pictures: found in any source, decoded once into a cache, served in seeded batches; films.

Its face: `cache.open_pictures`, `dataset.batches`, `images.grid`, `images.save_picture`, `opening.open_picture`.
"""
