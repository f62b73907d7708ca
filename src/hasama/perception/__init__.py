"""Frozen networks that extract features: for style transfer, for projection and for figures.

Its face: `vgg.VGG`, `vgg_weights.load_weights`, `efficientnet.EfficientNet`, `extractors.extract_features`.
"""
