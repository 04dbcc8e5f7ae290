"""Splits blocks of bytes into records: lines, table rows, TFRecord frames; and batches of them."""
