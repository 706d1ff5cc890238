"""Separates a reasoning model's thoughts from its answer.

Servers without a parser leave them in the text: ``<think>…</think>`` (DeepSeek R1, Qwen, most others; the opening tag
is missing if the chat template has it), ``[THINK]…[/THINK]`` (Magistral). Others give them a field of their own:
``reasoning_content`` (DeepSeek, vLLM), ``reasoning`` (OpenRouter, Groq), ``thinking`` blocks (Anthropic).
"""

from __future__ import annotations

import re
from dataclasses import replace

from mrengine.records import Completion, Usage

__all__ = ["apart", "used_up", "without_thoughts"]

_TAGS = ("think", "thinking", "thought", "reasoning")
_OPEN = re.compile(rf"\s*(?:<({'|'.join(_TAGS)})>|\[(THINK)\])", re.IGNORECASE)
# A closing tag without an opening one counts only on a line of its own: the answer may be about tags.
_LONE = re.compile(r"(?:\A|\n)[ \t]*(?:</think>|\[/THINK\])[ \t]*(?=\n|\Z)", re.IGNORECASE)


def without_thoughts(text: str) -> tuple[str, str]:
    """(thoughts, answer) of a text. If the thoughts never end, there is no answer."""
    thoughts: list[str] = []
    while (opened := _OPEN.match(text)) is not None:
        end = f"</{opened[1]}>" if opened[1] else "[/THINK]"
        closed = re.search(re.escape(end), text[opened.end() :], re.IGNORECASE)
        if closed is None:
            return "\n".join([*thoughts, text[opened.end() :].strip()]), ""
        thoughts.append(text[opened.end() : opened.end() + closed.start()].strip())
        text = text[opened.end() + closed.end() :].lstrip()
    if not thoughts and (lone := _LONE.search(text)) is not None:
        thoughts.append(text[: lone.start()].strip())
        text = text[lone.end() :].lstrip()
    return "\n".join(thoughts), text


def apart(completion: Completion, field: str = "", *, keep: bool) -> tuple[Completion, bool]:
    """The completion whose text is the answer alone (``keep``: after the thoughts), and whether there were thoughts.

    ``field``: thoughts that came in a field of their own. Reasoning tokens that the provider does not report are
    estimated as a share of the output, by length.
    """
    inside, text = without_thoughts(completion.text)
    thoughts = "\n".join(filter(None, (field.strip(), inside)))
    usage = completion.usage
    if not thoughts:
        return completion, usage.reasoning_tokens > 0
    if not usage.reasoning_tokens:
        share = len(thoughts) / (len(thoughts) + len(text))
        usage = replace(usage, reasoning_tokens=round(usage.output_tokens * share))
    shown = f"<think>\n{thoughts}\n</think>\n\n{text}" if keep and text else text
    return replace(completion, text=shown, usage=usage), True


def used_up(usage: Usage, max_tokens: int) -> str:
    """A clause that explains why an answer is empty."""
    spent = f"{usage.reasoning_tokens:,} tokens" if usage.reasoning_tokens else "all"
    return f"reasoning took {spent} of max_tokens={max_tokens}, and nothing was left for the answer"
