"""The parameters of a job, and what file names say about formats."""
