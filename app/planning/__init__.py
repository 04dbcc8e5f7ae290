"""Which input files a job has, where each output goes, and which outputs are there already."""
