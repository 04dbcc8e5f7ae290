"""A supervised model server, the calls to it, and what to make of their failures."""
