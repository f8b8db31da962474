"""What runs a trained network, torch or another library, and the files that the others run."""
