"""A supervised model server, calls to it, and the handling of their failures."""
