"""A run as a page and as a trace, from its log alone: also of a job that runs, was killed, or ran five times.

``story`` reads the log into columns, ``numbers`` derives what a reader asks, ``page`` and ``trace`` show it.
"""

from mrengine.report.page import write_report
from mrengine.report.trace import write_trace

__all__ = ["write_report", "write_trace"]
