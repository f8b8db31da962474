"""Image files and pictures in memory to RGB pixels: formats, limits, 16-bit values."""
