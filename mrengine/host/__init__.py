"""The host's half of a run, in the caller's own process: documents in, a backend driven, outcomes out.

Begin with ``job_run``, which follows a run from its start to its end. ``prepare`` works before the first round (with
``intake``, ``chunk_table`` and ``job_identity``), ``rounds`` plays the rounds, ``log_follower`` turns the durable log
into events and results, ``run_end`` and ``reduce`` come last. The host never writes to the log: a driver does.
"""
