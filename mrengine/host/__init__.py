"""The host's half of a run, in the caller's own process: documents in, a backend driven, outcomes out.

Begin with ``job_run``: it reads as the story of a run. ``prepare`` comes before its first round (``documents``,
``chunk_table``, ``job_identity``), ``rounds`` plays them, ``log_follower`` turns the durable log into events and
results, ``run_end`` and ``reduce`` come last. The host never writes to the log.
"""
