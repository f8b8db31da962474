"""Training augmentation of pixels and boxes."""
