"""Photo-like balloon scenes, generated: scenes and their data set, made of things on a canvas before a scenery."""
