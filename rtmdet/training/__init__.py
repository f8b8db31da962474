"""From dense outputs to better weights: assigner, losses, criterion, optimizer, EMA and the loop."""
