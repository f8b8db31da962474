"""The data set doctor: checks every image and annotation and lists all faults instead of stopping at the first."""
