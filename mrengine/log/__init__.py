"""The write-ahead log of a job: checkpoint, results and audit trail in one file.

``format`` knows bytes and opens no file, ``file`` reads and writes them, ``view`` is what they add up to. Begin with
docs/log-format.md.
"""
