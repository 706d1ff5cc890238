"""The budget: how fast a model may be called, and how much a job may spend.

``bucket`` → ``wait_queue`` → ``limiter`` → ``manager`` is arithmetic on the caller's clock. ``service`` tracks the open
calls of all workers; ``server`` is the process that serves it, ``client`` a worker's end of the connection, and
``in_process`` needs neither. ``shared_limits`` and ``redis_limits`` hold the limits that several processes draw on.
"""

from __future__ import annotations

from mrengine.budget.manager import TokenBucketManager
from mrengine.budget.token_estimates import estimate_tokens, upper_bound

__all__ = ["TokenBucketManager", "estimate_tokens", "upper_bound"]
