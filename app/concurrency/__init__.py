"""Deadlines, parallel calls that stop together, and steps of a stream that overlap."""
