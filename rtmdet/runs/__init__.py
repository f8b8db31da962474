"""Training runs: built from a configuration, carried out, resumed; their folder; validation; K folds."""
