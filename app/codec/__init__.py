"""Converts JSON to tensors and tensors to JSON, as the model's signature says."""
