"""The write-ahead log: checkpoint, results, audit trail. Begin with docs/log-format.md, then codec, wal, replay."""
