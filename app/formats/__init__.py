"""Input files of every format become instances.

reader.py     what all of them do: bytes to records, records to tensors, what comes beside them
opened.py     which of them reads a file
gzipped.py    compressed blocks become plain ones, before any format sees them, and back
jsonl.py      JSON lines; json_fields.py splits those of which the model sees only a part
csv.py        tables: csv_records.py cuts rows, csv_columns.py finds the inputs in the header,
csv_cells.py reads cells
tfrecord.py   TFRecord files; tfrecord_framing.py cuts records
text.py       lines of text
file_list.py  lines that name objects
strings.py    what the last three have in common: a record goes to the model as it is
"""
