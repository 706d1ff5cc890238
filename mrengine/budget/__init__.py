"""The budget of a model: how fast it may be called, and how much a job may spend.

``buckets`` → ``line`` → ``limiter`` → ``manager`` is arithmetic with the caller's clock; ``ledger`` keeps the tickets
of all workers; ``server`` is the process that serves it, ``client`` a worker's end, ``local`` the same in one process,
``shared`` limits that several processes draw on.
"""

from __future__ import annotations

from mrengine.budget.manager import TokenBucketManager
from mrengine.budget.pending_requests import Lease, Stopped
from mrengine.budget.token_estimates import estimate_tokens, upper_bound

__all__ = ["Lease", "Stopped", "TokenBucketManager", "estimate_tokens", "upper_bound"]
