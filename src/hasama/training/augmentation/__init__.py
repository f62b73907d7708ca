"""Random transforms of everything that the discriminator sees: DiffAugment and adaptive augmentation (ADA).

Its face: `augment.augmented`.
"""
