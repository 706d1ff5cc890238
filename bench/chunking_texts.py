"""Texts for the chunking benchmark, made at run time from what is at hand: the standard library and invention."""

from __future__ import annotations

import json
import random
import sysconfig
from collections.abc import Callable, Iterator
from itertools import cycle, pairwise
from pathlib import Path

__all__ = ["TEXTS", "code", "prose"]


def _choices(words: str) -> list[str]:
    return words.split("|")


_FIRST = _choices("今天|昨天|医生|病人|研究人员|这家公司|我们|他们|老师|学生|这个系统|城市的居民|检查结果")
_THEN = _choices("认为|发现|说明|报告了|讨论了|解决了|改变了|需要|使用|分析了|记录下来|比较了|支持|观察到")
_WHAT = _choices(
    "一个重要的问题|新的治疗方法|数据的变化|长期的影响|血压和心率|复杂的计算过程|两个月以来的情况"
    "|文本的结构|大量的文件|不同的看法|环境保护的措施|语言模型的能力|经济的发展|传统的节日"
    "|一种简单的办法|患者的病史|影像中的阴影|实验的条件"
)
_LINK = _choices("因此|但是|同时|另外|而且|最后|一般来说|在这种情况下|根据记录|到目前为止")
_ELEMENTS = tuple(
    tuple(line.split("|"))
    for line in (
        "0008|0018|SOP Instance UID|UI",
        "0008|0020|Study Date|DA",
        "0008|0060|Modality|CS",
        "0008|1030|Study Description|LO",
        "0010|0010|Patient's Name|PN",
        "0010|0030|Patient's Birth Date|DA",
        "0018|0050|Slice Thickness|DS",
        "0018|1151|X-Ray Tube Current|IS",
        "0020|000d|Study Instance UID|UI",
        "0020|0032|Image Position (Patient)|DS",
        "0028|0010|Rows|US",
        "0028|1050|Window Center|DS",
    )
)


def _words() -> list[str]:
    """Running English: the reference texts that come with Python."""
    from pydoc_data import topics

    return " ".join(topics.topics.values()).replace("*", "").replace("`", "").split()


class _Babble:
    """English-looking sentences: each word follows one that it follows in the reference texts."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._next: dict[str, list[str]] = {}
        words = [word for word in _words() if word.strip(".,;:()'\"-").isalpha()]
        for word, after in pairwise(words):
            self._next.setdefault(word, []).append(after)
        self._starts = [word for word in self._next if word[0].isupper() and word.isalpha()]

    def sentence(self) -> str:
        word = self.chance.choice(self._starts)
        said = [word]
        for _ in range(self.chance.randrange(6, 30)):
            word = self.chance.choice(self._next.get(word) or self._starts)
            said.append(word.rstrip(".:;"))
        return " ".join(said).rstrip(",") + self.chance.choice("....?!")

    def paragraph(self, most: int = 9) -> str:
        return " ".join(self.sentence() for _ in range(self.chance.randrange(1, most)))


def _grown(parts: Iterator[str], size: int) -> str:
    collected, length = [], 0
    while length < size:
        collected.append(next(parts))
        length += len(collected[-1])
    return "".join(collected)


def prose(size: int, seed: int = 1) -> str:
    """Paragraphs of English-looking sentences."""
    babble = _Babble(seed)
    return _grown(iter(lambda: babble.paragraph() + "\n\n", ""), size)


def code(size: int, seed: int = 1) -> str:
    """Source files of the standard library, one after another."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    random.Random(seed).shuffle(files)
    return _grown(cycle(file.read_text("utf-8", "replace") for file in files), size)


def markdown(size: int, seed: int = 1) -> str:
    """Headings, paragraphs, lists, tables and fenced code."""
    babble, chance, source = _Babble(seed), random.Random(seed), code(400_000, seed).splitlines()

    def block() -> str:
        kind = chance.randrange(10)
        if kind == 0:
            return "#" * chance.randrange(1, 5) + " " + babble.sentence()[:50].rstrip(" .?!") + "\n\n"
        if kind == 1:
            begin = chance.randrange(len(source) - 60)
            return "```python\n" + "\n".join(source[begin : begin + chance.randrange(3, 60)]) + "\n```\n\n"
        if kind == 2:
            return "".join(f"- {babble.sentence()}\n" for _ in range(chance.randrange(2, 8))) + "\n"
        if kind == 3:
            rows = "".join(f"| {chance.random():.3f} | {babble.sentence()[:30]} |\n" for _ in range(6))
            return "| value | note |\n| --- | --- |\n" + rows + "\n"
        return babble.paragraph() + "\n\n"

    return _grown(iter(block, ""), size)


def _records(size: int, seed: int) -> list[dict[str, object]]:
    babble, chance = _Babble(seed), random.Random(seed)
    records: list[dict[str, object]] = []
    length = 0
    while length < size:
        record: dict[str, object] = {
            "id": chance.randrange(10**8),
            "name": babble.sentence()[:24],
            "active": chance.random() < 0.5,
            "score": round(chance.random() * 100, 3),
            "tags": [babble.sentence().split()[0].lower() for _ in range(chance.randrange(5))],
            "address": {"street": babble.sentence()[:18], "geo": {"lat": chance.random(), "lon": chance.random()}},
            "note": babble.paragraph(4),
            "visits": [{"day": chance.randrange(365), "ms": chance.random()} for _ in range(chance.randrange(4))],
        }
        records.append(record)
        length += 450
    return records


def json_pretty(size: int, seed: int = 1) -> str:
    """One array of nested records, indented."""
    return json.dumps({"records": _records(size * 2 // 3, seed)}, indent=2)


def json_minified(size: int, seed: int = 1) -> str:
    """The same in one line."""
    return json.dumps({"records": _records(size, seed)}, separators=(",", ":"))


def json_lines(size: int, seed: int = 1) -> str:
    """A record a line."""
    return "".join(json.dumps(record) + "\n" for record in _records(size, seed))


def chinese(size: int, seed: int = 1) -> str:
    """Paragraphs of Chinese, without a blank between words or sentences. ``size`` is in UTF-8 bytes."""
    chance = random.Random(seed)

    def clause() -> str:
        return chance.choice(_FIRST) + chance.choice(_THEN) + chance.choice(_WHAT)

    def sentence() -> str:
        clauses = (
            chance.choice(("", "", chance.choice(_LINK) + "，")) + clause() for _ in range(chance.randrange(1, 6))
        )
        return "，".join(clauses) + chance.choice("。。。。？！")

    return _grown(iter(lambda: "".join(sentence() for _ in range(chance.randrange(2, 15))) + "\n", ""), size // 3)


def dicom(size: int, seed: int = 1) -> str:
    """Dumps of data sets with invented values, in the form that pydicom prints."""
    chance = random.Random(seed)

    def line(indent: int, group: str, number: str, name: str, form: str) -> str:
        value = {"UI": f"1.2.826.{chance.randrange(10**12)}", "US": "512", "IS": "180"}.get(
            form, f"'{chance.random():.5f}'"
        )
        return " " * 3 * indent + f"({group},{number}) {name:<35} {form}: {value}\n"

    def data_set() -> str:
        lines = []
        for group, number, name, form in _ELEMENTS:
            lines.append(line(0, group, number, name, form))
            if chance.random() < 0.2:
                count = chance.randrange(1, 5)
                lines.append(f"({group},1140)  Referenced Image Sequence   {count} item(s) ---- \n")
                for _ in range(count):
                    lines += [
                        line(1, "0008", "1150", "Referenced SOP Class UID", "UI"),
                        line(1, *_ELEMENTS[0]),
                        "   ---------\n",
                    ]
        return "".join(lines)

    return _grown(iter(data_set, ""), size)


TEXTS: dict[str, Callable[[int, int], str]] = {
    "prose": prose,
    "code": code,
    "markdown": markdown,
    "json pretty": json_pretty,
    "json minified": json_minified,
    "json lines": json_lines,
    "chinese": chinese,
    "dicom": dicom,
}
