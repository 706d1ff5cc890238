"""The host's half of a run, in the caller's own process: documents in, a backend driven, outcomes out.

Begin with ``job_run``: it reads as the story of a run. ``prepare`` comes before its first round, ``log_follower`` turns
the durable log into events and results, ``reduce`` and ``tree_reduce`` come last.
"""
