"""Reducers: plain functions from the results of a job to its answer.

Each takes a ``Sequence[ChunkResult]``, which may have an attribute ``failures`` for the chunks without a result. A
reducer that needs the answers of all models to each chunk has ``reducer.balance = "all"``: the job's default then.
"""

from __future__ import annotations

from mrengine.reducers.consensus import consensus_aggregator
from mrengine.reducers.texts import collect, concatenate, medical_report_aggregator, vote

__all__ = ["collect", "concatenate", "consensus_aggregator", "medical_report_aggregator", "vote"]
