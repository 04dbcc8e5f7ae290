"""A SavedModel in storage: its version, its files, whether they are whole, and fetching them."""
