"""The log on disk, for its one writer and its many readers: append, commit, recover, lock, follow."""
