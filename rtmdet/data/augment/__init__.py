"""The operations of the training pipeline on pixels and boxes."""
