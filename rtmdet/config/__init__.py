"""All settings with their defaults, reading them from YAML, and the rules that derive them from the data."""
