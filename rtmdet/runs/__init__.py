"""The parts of a training run: data, initial weights, settings, time, checks, folder."""
