"""The process that runs jobs: its folders, its memory, and its state between jobs."""
