"""How long a run takes, and runs that end in a given time."""
