"""Random transforms of all images that go into the discriminator: DiffAugment and adaptive augmentation (ADA).

Its face: `augment.augmented`.
"""
