"""Every setting with its default, the YAML files that name them, and the rules that choose them."""
