"""Pictures in, results out: sources, decoding, network and writing at the same time, in bounded memory."""
