"""Embedded-tf: batch predictions of one SavedModel over files of rows, as one call.

Start at job/run.py: run_job() is a job from its parameters to its report. Each package imports only
those above it in this list:

    errors, concurrency, telemetry, storage, settings
    instance      the process: its folders, its memory, its protection
    config        the parameters of a job
    framing       bytes become records
    codec         JSON becomes tensors, and tensors become JSON
    formats       readers and writers
    planning      which outputs belong to which inputs, and which are there already
    savedmodel    the model's files
    serving       a supervised model server, and what to make of its failures
    job           the story
    http_server   requests and answers on sockets
    web, cli      the ways in; wsgi and gunicorn_conf are what gunicorn is given
"""

__version__ = "0.1.0"
