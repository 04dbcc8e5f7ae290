"""Input files of every format become instances.

reader.py     what all of them do: bytes to records, records to tensors, fields beside them
gzipped.py    compressed blocks become plain ones, before any format sees them, and back
jsonl.py      JSON lines            csv.py         rows of a table, after a header
text.py       lines of text         file_list.py   lines that name objects
tfrecord.py   TFRecord files        strings.py     what the last three have in common
opened.py     which of them reads a file
"""
