"""A gunicorn worker with an event loop for requests, so that slow clients occupy no thread."""
