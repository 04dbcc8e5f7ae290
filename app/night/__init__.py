"""A night: many jobs by one command, and what became of each of them."""
