"""The write-ahead log of a job: checkpoint, results and audit trail in one file.

``format`` defines the bytes and opens no file, ``file`` reads and writes them, ``view`` computes a job's state from
them. Begin with docs/log-format.md; docs/decisions/why-not-sqlite.md says why it is not a database.
"""
