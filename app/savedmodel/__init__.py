"""A SavedModel in storage: finds its version, checks its files, and fetches them."""
