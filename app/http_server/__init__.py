"""A gunicorn worker that reads whole requests in one event loop: slow clients cost no thread."""
