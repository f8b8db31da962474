"""The commands: each module reads its arguments, calls the package and prints the result."""
