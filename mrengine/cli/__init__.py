"""The command line: parse, call the library, print. Data on stdout, everything else on stderr."""

from __future__ import annotations

import click

from mrengine._version import __version__
from mrengine.cli import (
    answer_commands,
    job_commands,
    mcp_commands,
    model_commands,
    run_commands,
    summary_commands,
)
from mrengine.cli.exits import Group, with_debug

__all__ = ["main"]

# "\b" keeps click from wrapping the paragraph that follows.
EPILOG = """\b
Examples:
  mrengine summarize report.txt
  mrengine summarize contracts/*.txt -o summaries --model gpt-4o-mini
  mrengine run visits.jsonl --each-line --prompt 'Diagnoses in: $text' --json
  mrengine run big.log --map triage:classify --reduce collect --workers 8
  mrengine jobs; mrengine show JOB --follow; mrengine resume JOB

\b
Exit codes:
  0 done    1 failed    2 usage    3 more failed chunks than --max-failed
  4 stopped by budget, timeout or cancel (resumable)    5 the job is busy
  6 resume --detach: its batches are still under way
  130 Ctrl-C    143 SIGTERM (both resumable: the same command goes on)

\b
Completion of commands, options, jobs and models (bash; zsh and fish likewise):
  eval "$(_MRENGINE_COMPLETE=bash_source mrengine)"

\b
Environment:
  OPENAI_API_KEY, OPENAI_BASE_URL, ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL, GEMINI_API_KEY
  MRENGINE_WORKERS, _SLOTS, _MODELS, _PRIORITY, _TARGET_TOKENS, _STATE_DIR, _CACHE_DIR, _PYTHON,
  _PRICES, _ANSWERS
  NO_COLOR. An option beats the environment, the environment beats the default.
"""


@click.group(
    cls=Group, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="mrengine")
def main() -> None:
    """Run prompts and functions over documents of any size, and never lose or pay twice for what was finished."""


with_debug(main)
for _command in (
    summary_commands.summarize,
    *run_commands.COMMANDS,
    *job_commands.COMMANDS,
    model_commands.models,
    answer_commands.answers,
    mcp_commands.mcp,
):
    main.add_command(with_debug(_command))
