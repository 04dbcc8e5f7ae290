"""Deadlines, parallel calls that fail together, and pipelined streams."""
