"""Embedded-tf: batch predictions of one SavedModel over files of rows, as one call.

The steps of a job, in order, with the file of each:

    job_spec.py      the parameters of a call become a frozen JobSpec; lists in text: field_names.py
    job.py           run_job(): the whole story on one screen
    job_folder.py    its temporary folder; those of dead jobs are swept
    find_model.py    which version of the model is taken
    model.py         it is measured, and brought into a local version folder
    check_model.py   its files are whole, with saved_model_file.py and tensor_bundle.py
    selection.py     which files the inputs stand for, with wildcards.py
    file_format.py   what a file's name tells of it
    plan.py          which outputs belong to which inputs; what file lists name: listed_files.py
    fingerprint.py   what an output follows from
    reuse.py         outputs that are there already are not made again
    lasting_server.py  a model server (of tfserving_launcher), replaced when it dies
    read_ahead.py    the inputs are read before they are asked for
    signatures.py    whether a signature can be called with rows, and what kind of call it is
    predict_file.py  one input file streams through the server into its output:
    formats/           blocks of bytes become records, and records instances, for each format
    lines.py           blocks of bytes become numbered lines; records.py: what is no line
    batches.py         records become bounded batches
    instances.py       a batch of JSON lines becomes tensors, in one of three ways:
                       number_rows.py, columns.py or careful_rows.py
    example_instances.py  or serialized tf.Examples, of tf_examples.py
    failing_rows.py    which rows of a batch the model fails on
    bad_rows.py        what becomes of rows that cannot be predicted
    predictions.py     tensors become JSON; those of classifiers in labelled_predictions.py
    prediction_writers.py  JSON becomes lines or a table, with what comes beside a prediction
    file_output.py     both files of an output appear, or neither
    pipeline.py        the threads that let these steps overlap
    report.py        what was done, in counts and seconds

Around them: storage/ (gs:// and local files), settings.py (the environment), errors.py (what can
go wrong, with its HTTP status), server_errors.py and server_environment.py (what is told of and to
the model server), log.py, progress.py, deadline.py, parallel.py (copies given up together),
hang_up.py (callers that are gone) and heap.py (memory after a job).
Ways in: handler.py and wsgi.py for HTTP, vertex.py for Vertex AI's requests, cli.py for the command
line.

From a connection to handler.py, under gunicorn (gunicorn_conf.py), where no client takes a thread:

    gunicorn_worker.py  the event loop, which reads whole requests and sends whole answers
    listeners.py        connections are accepted, as many as there is room for
    connection.py       what each of them waits for, and until when
    request_reader.py   bytes become requests, or refusals.py; body_end.py: where a body ends
    answer_pool.py      the threads; wsgi_call.py: what each of them does with a request
    request_body.py     the body, bounded and unpacked, as handler.py reads it
"""
