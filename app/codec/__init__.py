"""JSON becomes tensors, and tensors become JSON, by the model's signature."""
