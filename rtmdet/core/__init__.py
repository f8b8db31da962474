"""The types and the arithmetic that every room shares; imports nothing else of the package."""
