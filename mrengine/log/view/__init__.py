"""Computes the state of a job from its log: rounds, outcomes, results, calls, batches, and whether the log is sound."""
