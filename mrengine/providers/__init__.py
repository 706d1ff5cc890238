"""Owns one call to one model: what a model is, how it is asked, what its answer and its failures mean, when to ask
again.

``models`` resolves what a user gave, ``preload`` imports before the fork, ``connect`` makes a provider in a worker,
``retry`` makes a call with it, ``answers`` makes of calls what was asked for.
"""

from __future__ import annotations

from mrengine.providers.base import Provider
from mrengine.records import Completion, ModelSpec, Request

__all__ = ["Completion", "ModelSpec", "Provider", "Request"]
