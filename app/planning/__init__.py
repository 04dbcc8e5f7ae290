"""Plans a job: its input files, the output of each, and the outputs that can be reused."""
