"""What people see of a job: log records, progress, and the report."""
