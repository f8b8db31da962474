"""The network's three levels; without torch, for exported files."""

STRIDES = (8, 16, 32)  # input pixels per cell of each level's feature map, finest first
