"""The process that runs one job after the other: its folders, its memory, its protection."""
