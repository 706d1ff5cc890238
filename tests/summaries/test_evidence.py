"""What code can tell of a statement and its evidence: numbers, units, names, "not", opposites, who and whom."""

from __future__ import annotations

import re

import pytest

from mrengine.summaries.evidence import differs_from_quote, stands
from mrengine.summaries.names import Vocabulary
from mrengine.summaries.quotes import numbers_in
from mrengine.summaries.summary import Claim

ENGLISH = [
    "Anna Meyer received 20 mg of aspirin.",
    "Berta Klein received 40 mg of ibuprofen.",
    "The surgery was done by Dr. Weber on 3 May 2021.",
    "The patient tested positive for HIV.",
    "Revenue of Acme rose by 5 million dollars in 2020.",
    "Revenue of Globex fell by 7 million dollars in 2020.",
    "The tumour in the left lung is benign.",
    "He visited Paris and London in March.",
    "The court in Berlin did not accept the appeal.",
    "Hepatitis B was found in the sample.",
    "The patient was given vitamin D, and later was seen by Smith.",
    "Jones hired Smith as a lawyer.",
]
GERMAN = [
    "Frau Schmidt erhielt 20 mg Aspirin am Montag.",
    "Herr Bauer wurde am Dienstag operiert.",
    "Die Behandlung in Köln dauerte fünf Tage.",
    "Der Umsatz der Firma Acme stieg um 5 Millionen Euro.",
    "Die Lieferung nach Hamburg wurde nicht angenommen.",
]
OTHERS = [
    "张三每日服用20毫克阿司匹林。",
    "李四每日服用40毫克布洛芬。",
    "Иван Петров получил 20 мг аспирина.",
    "Анна Сидорова получила 40 мг ибупрофена.",
]
TRUE = [
    (ENGLISH, "Meyer took 20 mg of aspirin [1]."),
    (ENGLISH, "Anna Meyer received 20 mg, and Berta Klein 40 mg [1, 2]."),
    (ENGLISH, "Anna and Berta received 20 and 40 mg [1, 2]."),
    (ENGLISH, "Overall, Anna Meyer was treated with 20 mg of aspirin while Berta Klein had 40 mg of ibuprofen [1, 2]."),
    (ENGLISH, "The surgery was performed by Weber in May 2021 [3]."),
    (ENGLISH, "The patient is HIV positive [4]."),
    (ENGLISH, "In 2020 revenue of Acme rose by 5, and that of Globex fell by 7 million dollars [5, 6]."),
    (ENGLISH, "A benign tumour was found in the left lung [7]."),
    (ENGLISH, "He visited London and Paris in March [8]."),
    (ENGLISH, "The appeal was not accepted by the Berlin court [9]."),
    (ENGLISH, "However, the patient was given vitamin D [11]."),
    (ENGLISH, "Smith was hired by Jones as a lawyer [12]."),
    (GERMAN, "Frau Schmidt bekam am Montag 20 mg Aspirin [1]."),
    (GERMAN, "Die Therapie in Köln dauerte 5 Tage [3]."),
    (GERMAN, "Der Erlös von Acme stieg um 5 Millionen Euro [4]."),
    (GERMAN, "Die Operation von Herrn Bauer fand am Dienstag statt [2]."),
    (OTHERS, "张三每天口服阿司匹林20毫克 [1]。"),
    (OTHERS, "Аспирин был назначен Ивану Петрову, 20 мг [3]."),
]
FALSE = [
    (ENGLISH, "Berta Klein received 20 mg of aspirin [1]."),
    (ENGLISH, "Carol received 20 mg of aspirin [1]."),
    (ENGLISH, "Anna Meyer received 20 mg of ibuprofen [1]."),
    (ENGLISH, "Anna Meyer received 40 mg and Berta Klein 20 mg [1, 2]."),
    (ENGLISH, "Anna Meyer received 40 mg [1, 2]."),
    (ENGLISH, "Dr. Klein did the surgery on 3 May 2021 [3]."),
    (ENGLISH, "The surgery was done in June 2021 [3]."),
    (ENGLISH, "The patient tested negative for HIV [4]."),
    (ENGLISH, "The patient tested positive for HCV [4]."),
    (ENGLISH, "Globex's revenue rose by 5 million dollars [5]."),
    (ENGLISH, "Acme's revenue rose by 5 billion dollars [5]."),
    (ENGLISH, "Acme's revenue rose by 7 million dollars [5, 6]."),
    (ENGLISH, "The tumour in the right lung is benign [7]."),
    (ENGLISH, "He visited Rome and London in March [8]."),
    (ENGLISH, "The court in Berlin accepted the appeal [9]."),
    (ENGLISH, "Hepatitis C was found in the sample [10]."),
    (ENGLISH, "Vitamin C was given to the patient [11]."),
    (ENGLISH, "Smith hired Jones as a lawyer [12]."),
    (GERMAN, "Herr Bauer erhielt 20 mg Aspirin [1]."),
    (GERMAN, "Der Umsatz der Firma Acme sank um 5 Millionen Euro [4]."),
    (GERMAN, "Der Umsatz der Firma Acme stieg um 5 Milliarden Euro [4]."),
    (GERMAN, "Die Lieferung nach Hamburg wurde angenommen [5]."),
    (GERMAN, "Die Behandlung in Köln dauerte fünf Wochen [3]."),
    (OTHERS, "李四每日服用20毫克阿司匹林 [1]。"),
    (OTHERS, "张三每日服用20毫克布洛芬 [1]。"),
    (OTHERS, "Анна Сидорова получила 20 мг аспирина [3]."),
]


@pytest.mark.parametrize(
    ("said", "sentence", "true"), [(*one, True) for one in TRUE] + [(*one, False) for one in FALSE]
)
def test_a_sentence_stands_where_its_claims_say_it(said: list[str], sentence: str, true: bool) -> None:
    """Paraphrases do; another's name, number, unit or side does not."""
    claims = [Claim(text, text, "d", 0, 0, len(text), None, True) for text in said]
    marks = [int(one) for one in re.findall(r"\d+", re.findall(r"\[(.*?)\]", sentence)[0])]
    named = [claims[number - 1] for number in marks]
    assert stands(sentence, named, claims, Vocabulary.of(said)) == true


WHOLE = (
    "Anna Meyer was admitted on Monday. She received 20 mg of aspirin. Berta Klein came on Tuesday; her dose was "
    "40 mg. "
    "Dr. Weber did not see a fever."
)


@pytest.mark.parametrize(
    ("text", "quote", "differs"),
    [
        ("Anna Meyer received 20 mg of aspirin.", "She received 20 mg of aspirin", False),
        ("There was no fever.", "did not see a fever", False),
        ("A dose of 40 mg was given to Berta Klein.", "her dose was 40 mg", False),
        ("Berta Klein was admitted on Monday.", "Anna Meyer was admitted on Monday", True),
        ("Anna Meyer was admitted on Tuesday.", "Anna Meyer was admitted on Monday", True),
        ("Anna Miller received 20 mg of aspirin.", "She received 20 mg of aspirin", True),
        ("Dr. Weber saw a fever.", "Dr. Weber did not see a fever", True),
        ("Anna Meyer received 20 mg of ibuprofen.", "Anna Meyer received 20 mg of aspirin", True),
        ("The dose was 40 g.", "her dose was 40 mg", True),
        ("The dose was 20 mg.", "her dose was 40 mg", True),
    ],
)
def test_a_claim_says_what_its_quote_says(text: str, quote: str, differs: bool) -> None:
    """A name may stand for the "she" of a quote, and not for another name."""
    assert differs_from_quote(text, quote, WHOLE) == differs


def test_numbers_in_words_of_other_languages() -> None:
    assert numbers_in("fünf Tage, trois jours, siete días") == {"5", "3", "7"}
    assert numbers_in("发热三天，十二个月，二十三岁，一般情况好") == {"3", "12", "23"}
