"""The write-ahead log: checkpoint, result store, audit trail. Start with docs/log-format.md, then codec, wal, replay."""
