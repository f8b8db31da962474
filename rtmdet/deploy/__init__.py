"""What runs a trained network: one type for all, torch as the first."""
