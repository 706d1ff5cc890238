"""The command mcp."""

from __future__ import annotations

from typing import Any

import click

from mrengine.cli.options import ABOVE_ZERO, model_option, private_option, slots_option, state_option, workers_option
from mrengine.cli.output import log_to_stderr

__all__ = ["mcp"]


@click.command()
@model_option
@workers_option
@slots_option
@click.option("--max-cost", type=ABOVE_ZERO, default=None, help="Of one job, in US dollars.")
@private_option
@state_option
def mcp(models: tuple[str, ...], max_cost: float | None, allow_private: bool, **options: Any) -> None:
    """Serve assistants over stdio by the Model Context Protocol: summaries and jobs as tools.

    Tools: summarize_url, summarize_text, start_job, job_status, job_result. Needs the extra mcp.
    """
    from mrengine.mcp_server import McpJobs, serve
    from mrengine.records import Budget

    log_to_stderr(quiet=True)  # stdout carries the protocol; clients show stderr to their users
    settings = {name: value for name, value in options.items() if value is not None}
    if models:
        settings["models"] = list(models)
    if max_cost is not None:
        settings["budget"] = Budget(max_cost_usd=max_cost)
    serve(McpJobs(allow_private=allow_private, **settings))
