"""The commands: each module turns argv into objects and calls them; the only place that prints."""
