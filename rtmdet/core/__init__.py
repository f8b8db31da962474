"""Types and arithmetic shared by all subpackages; imports nothing else of the package."""
