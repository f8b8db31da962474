"""How good and how fast detectors are: on annotated images, beside each other, in seconds."""
