"""The command mcp."""

from __future__ import annotations

from typing import Any

import click

from mrengine.cli.options import state_option
from mrengine.cli.stderr import log_to_stderr

__all__ = ["mcp"]


@click.command()
@click.option("--model", "models", multiple=True, help="A model's name; several take turns. See 'mrengine models'.")
@click.option("--workers", type=click.IntRange(1, 1024), default=None, help="Worker processes.  [default: 5]")
@click.option("--slots", type=click.IntRange(1, 4096), default=None, help="Concurrent tasks in each.  [default: 1]")
@click.option(
    "--max-cost", type=click.FloatRange(min=0, min_open=True), default=None, help="Of one job, in US dollars."
)
@click.option("--allow-private", is_flag=True, help="Fetch URLs of the own network and of this machine, too.")
@state_option
def mcp(models: tuple[str, ...], max_cost: float | None, allow_private: bool, **given: Any) -> None:
    """Serve assistants over stdio by the Model Context Protocol: summaries and jobs as tools.

    Tools: summarize_url, summarize_text, start_job, job_status, job_result. Needs the extra mcp.
    """
    from mrengine.mcp_server import McpJobs, serve
    from mrengine.records import Budget

    log_to_stderr(quiet=True)
    settings = {name: value for name, value in given.items() if value is not None}
    if models:
        settings["models"] = list(models)
    if max_cost is not None:
        settings["budget"] = Budget(max_cost_usd=max_cost)
    serve(McpJobs(allow_private=allow_private, **settings))
