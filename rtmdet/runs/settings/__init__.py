"""The settings of a run that follow from the data and the first weights."""
