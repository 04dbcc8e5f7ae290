"""Speed and memory of the service, side by side with its rivals: `scripts/bench`.

cases.py          what is measured: a model and its input, for each case
models.py         the SavedModels, made by TensorFlow
contestants.py    the service, the script with TensorFlow in process, the ceiling without a model
costs.py          the costs that do not depend on rows: files, start, one row, memory
night.py          many small models: by one command, by calls, by a script in one process
results.py        medians and ratios as a table, as benchmarks/results.md, and as a chart
__main__.py       the command line

Nothing here is part of the tests: no figure decides whether a change is right.
"""
