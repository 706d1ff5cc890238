"""Summaries beside LangChain's map_reduce and refine: the same text, the same model, which errs in the same ways.

The text has planted facts, some of them contradicted later. The model, a function of its prompt on a loopback server,
passes over facts, joins the number of one with the name of another, invents some, and smooths contradictions. Counted
is what reaches the end. Needs ``pip install langchain-classic langchain-openai langchain-text-splitters``.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from hashlib import blake2b
from importlib.util import find_spec
from typing import Any

import cloudpickle

from bench.machine import save
from mrengine import summarize
from mrengine.testing.llm_server import LLMServer

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the server runs in another process
FACTS, CONTRADICTED, WORDS = 40, 5, 180
SIZE = 600  # tokens of a part
FACT = re.compile(r"It is a fact that hall (\d+) holds (\d+) crates of tea")
CLAIM = re.compile(r"^\[(\d+)\] \"?It is a fact that hall (\d+) holds (\d+) crates of tea", re.MULTILINE)
PACKAGES = ["langchain-classic", "langchain-openai", "langchain-text-splitters"]


def facts() -> list[tuple[int, int]]:
    """(hall, crates), in order; the last ones contradict some of the first."""
    first = [(hall, hall * 37 + 11) for hall in range(1, FACTS + 1)]
    return first + [(hall, hall * 37 + 500) for hall in range(3, 3 + CONTRADICTED)]


def said(hall: int, crates: int) -> str:
    return f"It is a fact that hall {hall} holds {crates} crates of tea."


def text() -> str:
    filler = "The committee met, talked at length, and went home without a word on it. " * (WORDS // 14)
    return "\n\n".join(f"## Part {at}\n\n{filler}{said(*fact)} {filler}" for at, fact in enumerate(facts(), 1))


def drawn(prompt: str, what: str, one_in: int) -> bool:
    """A die that falls the same way for the same question."""
    return int.from_bytes(blake2b(f"{what}\0{prompt}".encode(), digest_size=8).digest(), "big") % one_in == 0


def model(prompt: str) -> str:
    """The answer to any of the prompts, of either library."""
    claims = CLAIM.findall(prompt)
    found = [(int(hall), int(crates), number) for number, hall, crates in claims] or [
        (int(hall), int(crates), "") for hall, crates in FACT.findall(prompt)
    ]
    known: dict[int, tuple[int, str]] = {}
    for hall, crates, number in found:  # what was said first is believed
        known.setdefault(hall, (crates, number))
    halls = [hall for hall in known if not drawn(prompt, f"forget {hall}", 12)]
    statements = []
    for at, hall in enumerate(halls):
        crates, number = known[hall]
        marks = [number] if number else []
        if at + 1 < len(halls) and drawn(prompt, f"join {hall}", 12):
            crates, other = known[halls[at + 1]]
            marks += [other] if other else []
        statements.append((hall, crates, marks))
    if drawn(prompt, "invent", 3):
        statements.append((900 + len(prompt) % 90, 1, ["1"] if claims else []))
    if '"quote"' in prompt or "as its quote" in prompt:
        listed = [{"text": said(hall, crates), "quote": said(hall, crates)} for hall, crates, _ in statements]
        return json.dumps({"claims": listed})
    return " ".join(
        said(hall, crates)[:-1] + (f" [{', '.join(marks)}]." if marks else ".") for hall, crates, marks in statements
    )


def ours(url: str, method: Any, *, cite: bool) -> dict[str, Any]:
    whole = text()
    with tempfile.TemporaryDirectory() as folder:
        made = summarize(
            whole,
            models=f"{url}#gpt-4o-mini",
            method=method,
            cite=cite,
            state_dir=folder,
            target_tokens=SIZE,
            overlap_tokens=0,
            progress=False,
        )
    row = counted(made.text)
    if cite:
        false = [one for one in map(bare, sentences(made.text)) if not true(one)]
        told = {bare(one) for one in made.unsupported}
        row |= {
            "false_statements_told": sum(one in told for one in false),
            "true_statements_blamed": sum(true(one) for one in told),
            "facts_in_claims": len({pair for one in made.claims if one.verified for pair in pairs(one.text)}),
            "quotes": len(made.citations),
            "quotes_not_in_text": sum(whole[one.start : one.end] != one.quote for one in made.citations),
            "uncovered_chunks": len(made.uncovered),
        }
    return row


def langchain(url: str, kind: str) -> dict[str, Any]:
    from langchain_classic.chains.summarize import load_summarize_chain
    from langchain_core.documents import Document
    from langchain_openai import ChatOpenAI
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    from mrengine.chunking.tokens.tokenizer import tokenizer

    count = tokenizer("o200k_base").count
    llm = ChatOpenAI(
        model="gpt-4o-mini",
        base_url=url,
        api_key="none",
        custom_get_token_ids=lambda one: list(range(count(one))),  # its own would download its table
    )
    parts = RecursiveCharacterTextSplitter(chunk_size=SIZE, chunk_overlap=0, length_function=count).split_text(text())
    chain = load_summarize_chain(llm, chain_type=kind)
    return counted(chain.invoke({"input_documents": [Document(part) for part in parts]})["output_text"])


def sentences(told: str) -> list[str]:
    return [one for one in re.split(r"(?<=\.)\s+", told) if FACT.search(one)]


def bare(sentence: str) -> str:
    return re.sub(r"\s*\[[\d, ]+\]", "", sentence)


def true(sentence: str) -> bool:
    """Whether all that it says of halls is in the text."""
    return pairs(sentence) <= set(facts())


def pairs(told: str) -> set[tuple[int, int]]:
    return {(int(hall), int(crates)) for hall, crates in FACT.findall(bare(told))}


def counted(told: str) -> dict[str, Any]:
    """Of a final text: facts that are in it, statements that the source does not make, contradictions told."""
    found = pairs(told)
    halls = [hall for hall, crates in facts() if (hall, crates) in found]
    twice = [hall for hall in range(3, 3 + CONTRADICTED) if halls.count(hall) == 2]
    return {
        "facts": len(found & set(facts())),
        "facts_planted": len(facts()),
        "false_statements": sum(not true(bare(one)) for one in sentences(told)),
        "contradictions_told": len(twice),
        "contradictions_planted": CONTRADICTED,
    }


WAYS: dict[str, tuple[Callable[[str], dict[str, Any]], str | None]] = {
    "mrengine map_reduce cite": (lambda url: ours(url, "map_reduce", cite=True), None),
    "mrengine refine cite": (lambda url: ours(url, "refine", cite=True), None),
    "mrengine map_reduce": (lambda url: ours(url, "map_reduce", cite=False), None),
    "langchain map_reduce": (lambda url: langchain(url, "map_reduce"), "langchain_classic"),
    "langchain refine": (lambda url: langchain(url, "refine"), "langchain_classic"),
}


def main() -> None:
    """Each way once; the model errs by its prompt alone."""
    rows: list[dict[str, Any]] = []
    with LLMServer(answer=model) as server:
        for name, (way, package) in WAYS.items():
            if package is not None and find_spec(package) is None:
                rows.append({"way": name, "missing": f"{package} is not installed"})
                continue
            server.reset(answer=model)
            rows.append({"way": name, **way(server.url), "calls": server.stats().requests})
            print(rows[-1], flush=True)
    save("summaries", rows, packages=PACKAGES, facts=FACTS, part_tokens=SIZE)


if __name__ == "__main__":
    main()
