"""Models and the calls to them: how each is asked, what its answers and failures mean, and when to ask again.

``models`` resolves what a user gave, ``warm_up`` imports before the fork, ``connect`` makes a provider in a worker,
``call`` retries, continues and validates, ``http`` and ``sdk`` send.
"""

from __future__ import annotations

from mrengine.providers.base import Provider
from mrengine.records import Completion, ModelSpec, Request

__all__ = ["Completion", "ModelSpec", "Provider", "Request"]
