"""COCO annotation files: reading, repairing, indexing, splitting, merging."""
