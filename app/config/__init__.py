"""The parameters of a job, and the formats that file names imply."""
