"""The log file on disk: one writer appends and commits, many readers follow, a lock decides who may write."""
