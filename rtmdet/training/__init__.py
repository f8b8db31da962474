"""From dense outputs to better weights: assigner, losses, criterion, optimiser, EMA and the loop."""
