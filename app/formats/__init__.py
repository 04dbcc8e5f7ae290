"""Readers and writers, one for each format, and the registry that picks one."""
