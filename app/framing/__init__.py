"""Blocks of bytes become records: lines, rows of a table, TFRecord frames, and batches of them."""
