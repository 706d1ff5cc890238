"""Where the time goes: named durations of functions and stages, with their statistics; in any process.

Nothing is measured until a collector is enabled: until then a decorated function costs one look at a flag. Each
process has a collector of its own, :data:`collector`, which ``@profile`` and the contexts use unless they are given
another. In a run that profiles, the workers enable theirs and send their records with the outcomes.
"""

from mrengine.profiling.durations import PerformanceCollector, Statistics, collector
from mrengine.profiling.measure import ProfilerContext, async_profile_context, cprofile_context, profile
from mrengine.profiling.stages import ComponentTimer, StageTotal, format_duration

__all__ = [
    "ComponentTimer",
    "PerformanceCollector",
    "ProfilerContext",
    "StageTotal",
    "Statistics",
    "async_profile_context",
    "collector",
    "cprofile_context",
    "format_duration",
    "profile",
]
