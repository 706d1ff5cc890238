"""The byte format of the log, for readers and writers alike: frames, records, values. Nothing here opens a file."""
