# ruff: noqa: E501 - texts, line by line
"""Labelled texts in the forms of real programs: frameworks' logs, contracts, manifests, dumps, chats. All is invented.

The kinds are those of ``chunking_made`` and ``chunking_records``, the forms are others: a rule that fits only its own
generator fails here.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from bench.chunking_judge import Builder, Labelled
from bench.chunking_made_words import sentence, words
from bench.chunking_wild_pages import (
    _contract,
    csv_mail,
    feed,
    html_docs,
    kubernetes,
    manual_page,
    markdown_styles,
    playbook,
    rfc,
    rst_styles,
    tsv_notes,
)
from bench.chunking_wild_records import (
    _CHATS,
    _LOGS,
    Chance,
    _chat,
    _log,
    fhir_json,
    fhir_xml,
    git_log,
    hl7_adt,
    hl7_even,
    log_slow_query,
    mbox,
    mysqldump,
    pg_dump,
    slack_json,
    webvtt,
)

__all__ = ["WILD"]

# Code ---------------------------------------------------------------------------------------------------------------

_CODE = {
    "java": ("/**\n * {said}\n * @param x {few}\n */\n@Override\npublic int {name}(final int x) {{\n{body}    return x;\n}}\n", "    foo(x, \"{few}\");\n    if (x > {n}) {{\n        bar(x);\n    }}\n"),
    "rust": ("/// {said}\n#[inline]\npub fn {name}(x: u32) -> u32 {{\n{body}    x\n}}\n", "    let y = x + {n};\n    println!(\"{few} {{}}\", y);\n"),
    "ruby": ("# {said}\ndef {name}(x)\n{body}  x\nend\n", "  puts \"{few}\"\n  return {n} if x.nil?\n"),
    "shell": ("# {said}\n{name}() {{\n{body}}}\n", "    if [ \"$1\" = \"{few}\" ]; then\n        echo {n}\n    fi\n"),
    "c": ("/* {said}\n * {few} */\nstatic int\n{name}(int x)\n{{\n{body}\treturn x;\n}}\n", "\tif (x > {n}) {{\n\t\tputs(\"{few}\");\n\t}}\n"),
    "js": ("/**\n * {said}\n */\nexport async function {name}(x) {{\n{body}  return x;\n}}\n", "  const y{n} = await go(x, '{few}');\n  items.push(y{n});\n"),
}  # fmt: skip


def _code(name: str) -> Callable[[Chance, int], Labelled]:
    head, line = _CODE[name]

    def make(chance: Chance, size: int) -> Labelled:
        made = Builder()
        made.add(
            {
                "java": "package a;\n\nimport java.util.*;\n\n",
                "c": "#include <stdio.h>\n\n",
                "js": "import go from './go.js';\n\n",
                "shell": "#!/bin/sh\nset -eu\n\n",
                "rust": "use std::fmt;\n\n",
                "ruby": "require 'set'\n\n",
            }[name]
        )
        while made.length < size:
            body = "".join(
                line.format(few=words(chance, 1, 4), n=chance.randrange(99)) for _ in range(chance.randrange(1, 5))
            )
            made.unit(
                head.format(said=sentence(chance), few=words(chance, 2, 5), name=f"f{made.length}", body=body)
            ).add("\n")
        return made.done()

    return make


# Languages ----------------------------------------------------------------------------------------------------------

_SAID = {
    "en": ("The patient took 5 mg b.i.d. and p.r.n. with water", "See Gov. Adams and Mt. Hood on fig. 3 of the atlas", "Under 42 U.S.C. § 1983 and Art. 7 the claim failed", "It weighs approx. 3.5 kg, i.e. more than Lt. Col. Ross thought", "He said . . . nothing of it"),
    "de": ("Sie wohnt in der Hauptstr. 12 bei Fr. Dr. Weiß", "Am 3. Mai 2024 kam die Lieferung lt. Rechnung Nr. 17 an", "Nach § 5 Abs. 2 S. 1 BGB gilt das ggf. nicht", "Das sind z. B. ca. 3,5 Mio. Euro bzw. etwas mehr", "Der 2. Weltkrieg endete im 20. Jh."),
    "fr": ("M. Durand et Mme Petit vivent av. Foch", "Voir art. 12, al. 3 et p. ex. la fig. 2", "Le Dr. Martin a vu env. 30 pers. hier"),
    "es": ("El Sr. Gómez y la Dra. Ruiz viven en la Av. Sol núm. 5", "Véase el art. 3 y la pág. 12, p. ej.", "Son aprox. 30 kg. de peso"),
    "it": ("Il dott. Verdi e la sig.ra Neri vivono qui", "Si veda l'art. 5, comma 2, e pag. 12", "Pesa ca. 3,5 kg. in tutto"),
    "pt": ("O Sr. Dr. Alves mora na Av. Brasil n.º 5", "Veja o art. 3 e a pág. 12 do vol. 2", "São aprox. 30 km. daqui"),
    "nl": ("Dhr. De Vries en mevr. Jansen wonen a.d. gracht", "Zie art. 5 lid 2 en blz. 12 e.v. van het boek", "Dat kost bijv. ca. 30 euro"),
    "pl": ("Prof. Kowalski mieszka przy ul. Polnej nr 5", "Zob. art. 5 ust. 2 pkt. 3 ustawy", "Waży ok. 3,5 kg, tj. więcej"),
    "ru": ("Проф. Петров живёт на ул. Мира, д. 5, кв. 12", "См. ст. 5 п. 2 и рис. 3 на стр. 12", "Это было в 1990 г. в г. Москве", "Он весит ок. 80 кг, т. е. много"),
    "uk": ("Проф. Коваль живе на вул. Миру, буд. 5", "Див. ст. 5 п. 2 і рис. 3 на стор. 12", "Це коштує 30 грн. за шт. у крамниці"),
    "cs": ("Prof. Novák bydlí v ul. Krátké č. 5", "Viz § 5 odst. 2 písm. a) zákona č. 12", "To je např. 30 Kč, tj. málo"),
    "sv": ("Dr. Berg bor på t.ex. Storg. 5 med fru", "Se s. 12 och kap. 3 i boken m.m. för mer", "Det kostar ca. 30 kr. per st. här"),
    "tr": ("Prof. Dr. Kaya bu sok. içinde oturuyor", "Bkz. s. 12 ve Şek. 3 bu kitapta", "Fiyatı yak. 30 TL. kadar"),
    "el": ("Ο κ. Νίκου μένει στην οδ. Αθηνάς αρ. 5", "Βλ. σελ. 12 και άρθρ. 3 παρ. 2 του νόμου", "Είναι π.χ. 30 χλμ. από εδώ"),
    "hu": ("Dr. Nagy a Fő u. 5. szám alatt lakik", "Lásd a 12. oldalt és pl. a 3. ábrát", "Kb. 30 kg. a súlya"),
    "ro": ("Dl. Pop locuiește pe str. Lungă nr. 5", "Vezi art. 5 alin. 2 și pag. 12 din carte", "Costă aprox. 30 de lei"),
    "fi": ("Prof. Virtanen asuu mm. Helsingissä", "Ks. s. 12 ja esim. kuva 3 kirjassa", "Se maksaa n. 30 euroa"),
    "da": ("Dr. Hansen bor bl.a. i Kbh. med sin fru", "Se s. 12 og f.eks. fig. 3 i bogen", "Det koster ca. 30 kr. pr. stk. her"),
}  # fmt: skip


def _language(code: str) -> Callable[[Chance, int], Labelled]:
    def make(chance: Chance, size: int) -> Labelled:
        made = Builder()
        while made.length < size:
            for _ in range(chance.randrange(4, 14)):
                one, two = chance.choice(_SAID[code]), chance.choice(_SAID[code])
                joined = chance.choice((one, f"{one}, {two[0].lower()}{two[1:]}"))
                made.unit(joined + chance.choice("...?!")).add(" ")
            made.add("\n\n")
        return made.done()

    return make


_SCRIPTS = {
    "japanese": ("私は昨日友達と映画を見ました", "この薬は一日三回飲んでください", "彼女は本当に来るのでしょうか", "研究の結果は次の通りである"),
    "japanese half": ("ワタシハ昨日映画ヲ見マシタ", "コノ薬ハ一日三回ﾉﾝﾃﾞｸﾀﾞｻｲ", "ｶﾉｼﾞｮﾊ本当ﾆ来ﾏｽｶ"),
    "khmer": ("ខ្ញុំចង់ទៅផ្សារជាមួយមិត្តភក្តិ", "អ្នកជំងឺត្រូវលេបថ្នាំបីដងក្នុងមួយថ្ងៃ", "លទ្ធផលនៃការស្រាវជ្រាវមានដូចខាងក្រោម"),
    "burmese": ("ကျွန်တော်မနေ့ကသူငယ်ချင်းနဲ့ရုပ်ရှင်ကြည့်ခဲ့တယ်", "ဒီဆေးကိုတစ်နေ့သုံးကြိမ်သောက်ပါ", "သုတေသနရလဒ်များမှာအောက်ပါအတိုင်းဖြစ်သည်"),
    "thai": ("เมื่อวานนี้ฉันไปดูหนังกับเพื่อน", "ผู้ป่วยต้องกินยาวันละสามครั้ง", "ผลการวิจัยเป็นดังต่อไปนี้"),
    "hindi": ("मैं कल अपने दोस्त के साथ फिल्म देखने गया था", "यह दवा दिन में तीन बार लेनी है", "डॉ. शर्मा ने कहा कि सब ठीक है"),
    "arabic": ("ذهبت أمس مع صديقي لمشاهدة فيلم", "يجب تناول هذا الدواء ثلاث مرات يوميا", "هل ستأتي غدا إلى المدينة"),
    "chinese": ("昨天我和朋友一起去看了电影", "这种药每天服用三次", "研究结果如下所示", "她真的会来吗"),
    "korean": ("어제 친구와 함께 영화를 보았습니다", "이 약은 하루에 세 번 드십시오", "연구 결과는 다음과 같습니다"),
}  # fmt: skip
_STOPS = {
    "japanese": "。？！",
    "japanese half": "｡?!",
    "khmer": "។",
    "burmese": "။",
    "thai": " ",
    "hindi": "।",
    "arabic": ".؟!",
    "chinese": "。？！",
    "korean": ".?!",
}


def _script(name: str) -> Callable[[Chance, int], Labelled]:
    spaced = name in ("hindi", "arabic", "korean", "khmer")

    def make(chance: Chance, size: int) -> Labelled:
        made = Builder()
        while made.length < size // 2:
            for _ in range(chance.randrange(4, 20)):
                made.unit(chance.choice(_SCRIPTS[name]) + chance.choice(_STOPS[name])).add(" " if spaced else "")
            made.add("\n")
        return made.done()

    return make


def mixed_notes(chance: Chance, size: int) -> Labelled:
    """Prose with a log, JSON lines and a table between its paragraphs, in fences and without."""
    made = Builder()
    made.opening(f"# {words(chance, 2, 4).title()}").add("\n\n")
    while made.length < size:
        made.unit(sentence(chance)).add(" ").unit(sentence(chance)).add("\n\n")
        kind = chance.randrange(3)
        if kind == 0:
            made.add("```\n")
            for n in range(chance.randrange(60, 120)):
                trace = (
                    'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    go()\nValueError: no\n'
                    if n % 7 == 3
                    else ""
                )
                made.unit(f"2024-05-01 12:{n % 60:02}:00 ERROR {sentence(chance, 3, 9)}\n{trace}")
            made.add("```\n\n")
        elif kind == 1:
            made.add("```json\n")
            for n in range(chance.randrange(60, 120)):
                made.unit(json.dumps({"id": n, "text": sentence(chance)}) + "\n")
            made.add("```\n\n")
        else:
            made.opening("| name | value |\n| --- | --- |").add("\n")
            for _ in range(chance.randrange(3, 40)):
                made.unit(f"| {words(chance, 1, 3)} | {sentence(chance, 3, 8)} |").add("\n")
            made.add("\n")
    return made.done()


def log_with_json(chance: Chance, size: int) -> Labelled:
    """Events of one line between payloads that are pretty-printed JSON, and lines of JSON."""
    made = Builder()
    while made.length < size:
        head = f"2024-05-01 12:{chance.randrange(60):02}:00,123 INFO app.http "
        kind = chance.randrange(3)
        if kind == 0:
            made.unit(head + sentence(chance) + "\n")
        elif kind == 1:
            made.unit(
                head
                + "payload:\n"
                + json.dumps(
                    {"id": made.length, "items": [words(chance, 1, 3) for _ in range(4)], "note": sentence(chance)},
                    indent=2,
                )
                + "\n"
            )
        else:
            made.unit(json.dumps({"time": "2024-05-01T12:00:00Z", "level": "info", "msg": sentence(chance)}) + "\n")
    return made.done()


def prose_with_table(chance: Chance, size: int) -> Labelled:
    """Plain text with tables of columns between the paragraphs."""
    made = Builder()
    while made.length < size:
        for _ in range(chance.randrange(1, 4)):
            made.unit(sentence(chance)).add(" ").unit(sentence(chance)).add("\n\n")
        made.opening(f"{'Name':<24}{'Value':<12}Unit").add("\n")
        for _ in range(chance.randrange(3, 20)):
            made.unit(f"{words(chance, 1, 3)[:22]:<24}{chance.randrange(9999):<12}mg").add("\n")
        made.add("\n")
    return made.done()


WILD: dict[str, Callable[[Chance, int], Labelled]] = {
    **{f"wild log {name}": _log(name) for name in _LOGS},
    "wild log slow query": log_slow_query,
    "wild log json": log_with_json,
    **{f"wild contract {style}": _contract(style) for style in ("article", "dotted", "section", "german", "french", "spanish", "russian", "chinese", "bracket")},
    "wild rfc": rfc,
    "wild man": manual_page,
    "wild fhir json": fhir_json,
    "wild fhir xml": fhir_xml,
    "wild hl7": hl7_adt,
    "wild hl7 even": hl7_even,
    "wild mysqldump": mysqldump,
    "wild pg_dump": pg_dump,
    **{f"wild chat {name}": _chat(name) for name in _CHATS},
    "wild slack json": slack_json,
    "wild vtt": webvtt,
    "wild mbox": mbox,
    "wild git log": git_log,
    "wild markdown": markdown_styles,
    "wild rst": rst_styles,
    "wild tsv": tsv_notes,
    "wild csv mail": csv_mail,
    "wild feed": feed,
    "wild html": html_docs,
    "wild kubernetes": kubernetes,
    "wild playbook": playbook,
    **{f"wild code {name}": _code(name) for name in _CODE},
    **{f"wild {code}": _language(code) for code in _SAID},
    **{f"wild {name}": _script(name) for name in _SCRIPTS},
    "wild mixed notes": mixed_notes,
    "wild prose table": prose_with_table,
}  # fmt: skip
