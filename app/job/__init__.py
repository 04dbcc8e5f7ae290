"""run_job(): a job from its parameters to its report, file by file."""
