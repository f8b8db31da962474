"""Looking inside: forward hooks, feature maps, Box AM, and the drawing of boxes."""
