"""Embedded-tf: batch predictions of one SavedModel over JSON lines, as one call.

The steps of a job, in order, with the file of each:

    job_spec.py      the parameters of a call become a frozen JobSpec
    job.py           run_job(): the whole story on one screen
    plan.py          which input files there are, and which output file belongs to each
    model.py         the model's files are brought into a local version folder and checked
    (tfserving_launcher starts the model server)
    read_ahead.py    the inputs are read before they are asked for
    predict_file.py  one input file streams through the server into its output file:
    lines.py           blocks of bytes become numbered lines
    batches.py         lines become bounded batches
    instances.py       a batch of JSON lines becomes tensors, in one of three ways:
                       number_rows.py, columns.py or careful_rows.py
    predictions.py     tensors become JSON lines
    pipeline.py        the threads that let these steps overlap
    report.py        what was done, in counts and seconds

Around them: storage/ (gs:// and local files), settings.py (the environment), errors.py (what can
go wrong, with its HTTP status), log.py, progress.py,
deadline.py, parallel.py (copies given up together) and heap.py (memory after a job).
Ways in: handler.py and wsgi.py for HTTP, cli.py for the command line.
"""
