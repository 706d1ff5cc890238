"""mrengine: run a function over documents of any size, and never lose or pay twice for what was finished.

Everything here is imported when it is first used: ``import mrengine`` costs a few milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mrengine._version import __version__

if TYPE_CHECKING:
    from mrengine.budget import TokenBucketManager
    from mrengine.chunking import safe_chunk
    from mrengine.errors import Retry, UrlRefused
    from mrengine.jobs import Job, merge_results
    from mrengine.log.view.job_view import ResumeEngine
    from mrengine.outputs.run_result import RunResult
    from mrengine.prompt_template import map_prompt
    from mrengine.providers.models.balancer import ModelLoadBalancer
    from mrengine.records import (
        Batch,
        Budget,
        Chunk,
        ChunkFailure,
        ChunkResult,
        Completion,
        Document,
        ModelSpec,
        Price,
        RateLimit,
        RunSummary,
        Usage,
    )
    from mrengine.reducers import collect, concatenate, consensus_aggregator, medical_report_aggregator, vote
    from mrengine.reducers.tree import refine, tree_reduce
    from mrengine.runner import MapReduceRunner
    from mrengine.selection import select_top_k
    from mrengine.sources import Loader, Url, read_folder, read_jsonl, read_source, read_table
    from mrengine.summaries.extract import select_sentences
    from mrengine.summarizer import Claim, Summary, SummaryProgress, SummaryStream, summarize
    from mrengine.worker.context import Context

_HOMES = {
    "mrengine.budget": ("TokenBucketManager",),
    "mrengine.chunking": ("safe_chunk",),
    "mrengine.worker.context": ("Context",),
    "mrengine.errors": ("Retry", "UrlRefused"),
    "mrengine.jobs": ("Job", "merge_results"),
    "mrengine.log.view.job_view": ("ResumeEngine",),
    "mrengine.outputs.run_result": ("RunResult",),
    "mrengine.prompt_template": ("map_prompt",),
    "mrengine.providers.models.balancer": ("ModelLoadBalancer",),
    "mrengine.records": (
        "Batch",
        "Budget",
        "Chunk",
        "ChunkFailure",
        "ChunkResult",
        "Completion",
        "Document",
        "ModelSpec",
        "Price",
        "RateLimit",
        "RunSummary",
        "Usage",
    ),
    "mrengine.reducers": ("collect", "concatenate", "consensus_aggregator", "medical_report_aggregator", "vote"),
    "mrengine.reducers.tree": ("refine", "tree_reduce"),
    "mrengine.runner": ("MapReduceRunner",),
    "mrengine.sources": ("Loader", "Url", "read_folder", "read_jsonl", "read_source", "read_table"),
    "mrengine.selection": ("select_top_k",),
    "mrengine.summaries.extract": ("select_sentences",),
    "mrengine.summarizer": ("Claim", "Summary", "SummaryProgress", "SummaryStream", "summarize"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Batch",
    "Budget",
    "Chunk",
    "ChunkFailure",
    "ChunkResult",
    "Claim",
    "Completion",
    "Context",
    "Document",
    "Job",
    "Loader",
    "MapReduceRunner",
    "ModelLoadBalancer",
    "ModelSpec",
    "Price",
    "RateLimit",
    "ResumeEngine",
    "Retry",
    "RunResult",
    "RunSummary",
    "Summary",
    "SummaryProgress",
    "SummaryStream",
    "TokenBucketManager",
    "Url",
    "UrlRefused",
    "Usage",
    "__version__",
    "collect",
    "concatenate",
    "consensus_aggregator",
    "map_prompt",
    "medical_report_aggregator",
    "merge_results",
    "read_folder",
    "read_jsonl",
    "read_source",
    "read_table",
    "refine",
    "safe_chunk",
    "select_sentences",
    "select_top_k",
    "summarize",
    "tree_reduce",
    "vote",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # found without this function the next time
    return value


def __dir__() -> list[str]:
    return __all__
