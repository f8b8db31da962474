"""Detectors as files for other programs, each compared with the network that it was made of."""
