"""Invented sentences, with abbreviations, numbers and ellipses, for the labelled texts."""

# ruff: noqa: E501, SIM905 - lists of words, line by line
from __future__ import annotations

import random

__all__ = ["NAMES", "figure", "sentence", "words"]

Chance = random.Random

NAMES = ("Alice", "Bob Miller", "Dr. Chen", "Łukasz", "Maria Rossi", "O'Neil", "Jean-Luc", "system", "Ewa K.")
_WORDS = (
    "the a this each every patient report system value result change study window river garden market letter question"
    " answer service public private early late small large clear recent common general found shows gives takes keeps"
    " moves rises falls remains becomes describes follows requires with without under over between during after before"
    " because although while therefore again often seldom always never nearly quite very much more most less and or but"
    " treatment pressure agreement delivery payment notice party supplier customer period section table measure data"
    " examination laboratory temperature condition responsibility information organisation development"
).split()
_ABBREVIATED = (
    "Dr. Miller", "Mr. Jones", "Gov. Adams", "Mt. Hood", "fig. 3", "Fig. 12", "No. 5", "Art. 7", "Pt. 2", "10 mg b.i.d.",
    "42 U.S.C. 1983", "e.g. water", "i.e. all", "approx. 40", "vs. others", "Prof. Lee", "J. R. Smith", "St. Paul", "at 3.14 p.m.",
    "Inc. shares", "Sec. 4(b)", "ca. 1900", "vol. 3", "pp. 12", "et al. 2020", "Jan. 5", "Sen. Brown", "Capt. Ross", "Ave. 12",
)  # fmt: skip


def words(chance: Chance, low: int, high: int) -> str:
    return " ".join(chance.choices(_WORDS, k=chance.randrange(low, high)))


def sentence(chance: Chance, low: int = 6, high: int = 22) -> str:
    """One sentence, sometimes with an abbreviation, a quotation, a number, an ellipsis."""
    said = words(chance, low, high).split()
    if chance.random() < 0.25:
        said.insert(chance.randrange(1, len(said)), chance.choice(_ABBREVIATED))
    if chance.random() < 0.1:
        said.insert(chance.randrange(1, len(said)), f"{chance.randrange(1, 90)}.{chance.randrange(100)}")
    if chance.random() < 0.3:
        said[len(said) // 2] += ","
    text = " ".join(said)
    text = text[0].upper() + text[1:]
    if text.endswith("."):
        text += " patients"
    return text + chance.choice("......?!")


def figure(chance: Chance) -> str:
    return f"{chance.random() * 1000:.{chance.randrange(4)}f}"
