"""Which models have batches, and the client for them."""

from __future__ import annotations

from mrengine.errors import ConfigError
from mrengine.providers.batches.client import BatchClient
from mrengine.providers.models.model import Model

__all__ = ["check_batches", "connect_batches", "has_batches"]


def has_batches(model: Model) -> bool:
    """Whether a model may be asked in batches: it has an address that speaks one of the vendors' APIs."""
    return model.kind in ("openai", "anthropic", "http") and model.base_url is not None


def check_batches(models: tuple[Model, ...]) -> None:
    """ConfigError: not one model of a job can be asked in batches."""
    if not any(map(has_batches, models)):
        names = ", ".join(model.name for model in models) or "no model"
        raise ConfigError(
            "batch= needs a model of OpenAI, Anthropic or an endpoint that speaks one of their batch APIs; the job has "
            + names,
            setting="batch",
        )


def connect_batches(model: Model, folder: str) -> BatchClient:
    """The client of a model's batches. ConfigError: a header or proxy cannot be used."""
    if model.shape == "anthropic":
        from mrengine.providers.batches.anthropic import AnthropicBatches

        return AnthropicBatches(model, folder)
    from mrengine.providers.batches.openai import OpenAIBatches

    return OpenAIBatches(model, folder)
