"""Recognises abbreviations, numbers and initials before a full stop, where no sentence ends.

Short words without a vowel, words with full stops inside, initials and small numbers are told by their form; the
lists have the rest. A word too many costs a place to cut; a word too few tears a sentence.
"""

from __future__ import annotations

import re

__all__ = ["is_abbreviation"]

_LISTS = (
    # English, with medicine, law and addresses
    "mr mrs ms dr prof rev fr sr jr st gen col capt cpt lt sgt maj cmdr adm brig gov sen rep pres amb hon supt "
    "det insp mt ft pt pts ave av blvd rd sq ln hwy apt ste bldg fl dept dist div univ inst assn bros inc ltd co "
    "corp plc llc no nos nr fig figs eq eqs ref refs vol vols p pp pg par para sec secs ch chap art arts app ex "
    "exs tab ed eds trans vs v viz cf ca c approx est etc al ibid id op cit loc seq ff incl excl max min avg std "
    "temp tel ext dob tabs cap caps aprox inj sol susp supp oint amp bid tid qid prn hrs hr mins wk wks mo mos yr yrs "
    "mg kg ml cm mm jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun "
    "cal calif fla mass tex wash mich minn ill ind conn del miss okla ore penn tenn wis wyo ariz ark colo nev neb "
    "kan ala alas e.g i.e cir ct cl stat misc reg regs cert aff rept atty def "
    # German
    "bzw usw usf vgl evtl ggf ggfs inkl exkl zzgl abzgl abs aufl bd bde bspw d.h dgl dipl ing ehem einschl entspr "
    "etw gem geb gest gez hl frl i.d.r inh jh jhd jhdt kap kath ev lfd ling masch mind mio mrd mwst nachf nat o.ä "
    "öff österr phil pol priv rel röm s.o s.u sog stellv stud str tsd u.a urspr verf verg verl versch vers vorm "
    "vors wg z.b z.t zit zzt ziff zw tägl mtl jährl med pat di mi do sa so okt dez mär rn "
    # French
    "m mme mmes mlle mlles mgr me pr boul bld env éd hab janv févr avr juil déc n num réf suiv t tél bull coll "
    "dir p.ex c.-à-d "
    # Spanish, Portuguese, Catalan
    "sra srta sres dra drs dras d da dña ud uds vd vds avda avd apdo atte cía ctra depto dpto edo ej esq fdo gral "
    "hnos izq izqda lic lám máx mín n.º núm núms ob ór pág págs párr pdte pl pral profa rte sta sto ss tfno tít "
    "tlf trad vto exmo exma ilmo eng arq adv ltda mons lgo r tv pç nº lei ap fls p.ej ene abr ago set dic fev mai "
    "out "
    # Italian
    "sig sigg sig.ra dott dott.ssa avv geom arch rag on egr gent spett prof.ssa pag pagg capp sez es ecc cfr c.so "
    "p.zza v.le l.go s.p.a s.r.l genn febb magg giu lug sett ott artt comma nn lett d.lgs d.p.r tav sgg "
    # Dutch
    "dhr mevr mw ir bijv nl blz enz evt i.p.v i.v.m m.a.w m.b.t o.a t.a.v t.o.v z.o.z a.u.b afb hfst jl resp vnl "
    "zgn zg "
    # Scandinavian, Finnish
    "bl.a dvs f.d f.n fr.o.m kl m.fl m.m o.d osv s.k t.ex t.o.m ung eks f.eks mv pga fru jf kr mill pkt stk vedr "
    "bl kpl esim ns ks ym jne noin os puh s "
    # Polish, Czech, Slovak
    "np m.in itd itp tj tzn tzw inż ul godz sek rys poz ust lit wyd zob por ok w im św jw płk kpt mjr ppłk sierż "
    "zł gr tys mln mld ur zm např tzv atd apod č čl odst písm obr nám tř mudr judr phdr doc rndr bc csc sv pí hod "
    "mil tis kč roč sb "
    # Hungarian, Romanian, Turkish
    "ifj özv stb kb ún vö old köt kft zrt bt rt u krt út ker em fsz hrsz sz sc et jud dl dna alin pct lg oug hg "
    "doç yrd sn sok cad mah blv sk vb bkz örn yy mö "
    # Russian, Ukrainian, Bulgarian
    "г гг в вв ул пл пр просп пер наб бул ш д корп стр кв оф обл р-н респ пос дер им проф доц акад канд мед тех "
    "физ чл корр т тт тов гр г-н г-жа св о н э до ок см ср напр др рис табл илл гл разд п пп подп ст ч абз изд "
    "ред сост тыс млн млрд трлн руб коп долл чел экз шт ед час мин сек км кг мг мл мм янв февр апр авг сент окт "
    "нояб дек пн вт чт пт сб вс т.е т.к т.д т.п т.н и.о к.м.н д.м.н вул буд смт ім рр грн див мал "
    # Hindi
    "डॉ श्री प्रो रु सं कि मी "
    # Greek
    "κ κκ κος κα κ.λπ κτλ π.χ δηλ βλ σελ αρ αριθ τηλ οδ λεωφ πλ καθ δρ στρ άρθρ παρ εδ τομ "
)
_WORDS = frozenset(_LISTS.split())
_LAST = re.compile(r"[^\s(\[\"'“‘«„/]*$")
_VOWEL = re.compile("[aeiouyäöüáéíóúàèìòùâêîôûãõåæøœőűąęěůýıаеёиоуыэюяіїєαεηιουωάέήίόύώ]")
_ROMAN = re.compile(r"[IVXLC]{1,5}$")
_SHORT = 6  # letters
_ENDINGS = ("str",)  # of German compounds: Hauptstr.


def is_abbreviation(text: str, stop: int) -> bool:
    """Whether the full stop at ``stop`` may belong to the word before it."""
    word = _LAST.search(text, max(0, stop - 24), stop).group()  # type: ignore[union-attr] # it matches nothing, too
    if not word or word[-1] in ".-":
        return not word
    size = len(word)
    if size == 1 and not word.isdigit():
        return True
    if "." in word:
        return not word.rstrip(".").replace(".", "").isdigit() and max(map(len, word.split("."))) <= 5
    if word[0].isdigit():
        before = text[max(0, stop - size - 8) : stop - size].rstrip()
        return size <= 2 and word.isdigit() and before[-1:] != "."  # the number in "No. 5." does end a sentence
    small = word.lower()
    if small in _WORDS or small.endswith(_ENDINGS) or _ROMAN.match(word):
        return True
    numbered = size <= _SHORT and text[stop + 1 : stop + 2] == " " and text[stop + 2 : stop + 3].isdigit()
    if numbered or not small.isalpha():
        return numbered  # hardly a sentence begins with a number
    if "\u0400" <= small[0] <= "\u052f":
        return size <= 2
    return size <= 4 and small[0] < "\u0250" and _VOWEL.search(small) is None
