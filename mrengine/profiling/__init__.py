"""Measures named durations of functions and stages, with statistics, in any process.

Nothing is measured before a collector is enabled: until then a decorated function only checks a flag. Each process has
a collector of its own, :data:`collector`, which ``@profile`` and the contexts use by default. In a run that profiles,
the workers enable theirs and send their records with the outcomes.
"""

from mrengine.profiling.durations import PerformanceCollector, Statistics, collector
from mrengine.profiling.measure import ProfilerContext, async_profile_context, cprofile_context, profile
from mrengine.profiling.stages import ComponentTimer, StageTotal, format_duration

__all__ = [
    "ComponentTimer", "PerformanceCollector", "ProfilerContext", "StageTotal", "Statistics", "async_profile_context",
    "collector", "cprofile_context", "format_duration", "profile",
]  # fmt: skip
