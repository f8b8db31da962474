"""The doctor of data sets: looks at every image and annotation and goes on after a fault."""
