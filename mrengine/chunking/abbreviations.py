"""Owns which words before a full stop are abbreviations, numbers and initials, so that no sentence ends there.

Short words without a vowel, words with full stops inside, initials and small numbers are told by their form; the
lists have the rest. A word too many costs a place to cut; a word too few tears a sentence.
"""

from __future__ import annotations

import re

__all__ = ["is_abbreviation"]

_LISTS = (
    # English, with medicine, law and addresses
    "mr mrs ms dr prof rev fr sr jr st gen col capt cpt lt sgt maj cmdr adm brig gov sen rep pres amb hon supt det insp"
    " mt ft pt pts ave av blvd rd sq ln hwy apt ste bldg fl dept dist div univ inst assn bros inc ltd co corp plc llc"
    " no nos nr fig figs eq eqs ref refs vol vols p pp pg par para sec secs ch chap art arts app ex exs tab ed eds trans"
    " vs v viz cf ca c approx est etc al ibid id op cit loc seq ff incl excl max min avg std temp tel ext dob adm"
    " tab tabs cap caps inj sol susp supp oint amp bid tid qid prn hrs hr mins secs wk wks mo mos yr yrs mg kg ml cm mm"
    " jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun cal calif fla mass"
    " tex wash mich minn ill ind conn del miss okla ore penn tenn wis wyo ariz ark colo nev neb kan ala alas e.g i.e"
    " cir ct cl stat supp misc rev reg regs cert aff rept atty def"
    # German
    " bzw usw usf vgl evtl ggf ggfs inkl exkl zzgl abzgl abs aufl bd bde bspw ca d.h dgl dipl ing ehem einschl entspr"
    " etw gem geb gest gez hl hr frl i.d.r inh jh jhd jhdt kap kath ev lfd ling masch mind mio mrd mwst nachf nat o.ä"
    " öff österr phil pol priv rd rel röm s.o s.u sog stellv stud str std tsd u.a urspr verf verg verl versch vers vorm vors"
    " wg z.b z.t zit zzt ziff zw tägl mtl jährl min max med pat amb stat op mo di mi do fr sa so okt dez mär feb rn"
    # French
    " m mm mme mmes mlle mlles mgr me dr pr st ste av boul bd bld ch chap env éd etc ex fig hab ibid janv févr avr juil"
    " sept oct nov déc n no num p pp par ref réf sq suiv t tél vol al cf art arts bull coll dir p.ex c.-à-d min max"
    # Spanish, Portuguese, Catalan
    " sr sra srta sres dr dra drs dras d da dña ud uds vd vds av avda avd apdo art arts atte c cap caps cía ctra depto dpto"
    " ed edo ej esq etc fdo fig gral hnos izq izqda lic lám máx mín n.º núm núms ob op ór pág págs párr pdte pl pral prof"
    " profa ref reg rte sta sto ss tel tfno tít tlf trad vol vto exmo exma ilmo eng arq adv jr ltda mons lgo r av al tv pç"
    " nº dec lei inc ap fls ss p.ej ene abr ago set dic dez fev mai out"
    # Italian
    " sig sigg sig.ra dott dott.ssa avv ing geom arch rag on egr gent spett prof prof.ssa rev mons pag pagg cap capp sez"
    " es ecc cfr c.so p.zza v.le l.go s.p.a s.r.l gen genn febb apr magg giu lug ago sett ott tel vol art artt comma n nn"
    " lett al d.lgs d.p.r fig tav cit ed min max ss sgg"
    # Dutch
    " dhr mevr mw drs ir mr ing prof bijv bijv nl blz pag enz evt i.p.v i.v.m m.a.w m.b.t o.a t.a.v t.o.v z.o.z a.u.b nr"
    " art afb fig hfst jl jr ca incl excl max min resp vgl vnl zgn zg st str tel"
    # Scandinavian, Finnish
    " bl.a dvs ev f.d f.n fr.o.m kl m.fl m.m nr o.d osv resp s.k t.ex t.o.m tel ung ca eks f.eks mv pga inkl hr fru jf"
    " kap kr mill mrd nr pkt stk str tlf vedr bl vgl st kpl esim mm ns ks ym jne n noin os puh s"
    # Polish, Czech, Slovak
    " al np m.in itd itp tj tzn tzw dr hab inż mgr prof ks ul al pl os godz min sek rys tab str s nr poz pt art ust pkt lit"
    " wg wyd zob por ok r w im św jw gen płk kpt mjr ppłk por sierż zł gr tys mln mld ur zm"
    " např tj tzv atd apod resp č čl odst písm str obr tab ul nám tř ing mgr mudr judr phdr doc prof rndr bc csc sv p pí"
    " hod min mil tis mld kč roč sb"
    # Hungarian, Romanian, Turkish
    " dr ifj id özv stb pl kb ún vö ill old köt kft zrt bt rt u krt út ker em fsz hrsz sz nr str bd bl sc et ap jud dl dna"
    " prof ing lit alin pct art lg oug hg pag nr vol etc dr prof doç yrd av sn sok cad mah apt no blv sk vb vs bkz örn yy mö"
    # Russian, Ukrainian, Bulgarian
    " г гг в вв ул пл пр просп пер наб бул ш д корп стр кв оф обл р-н респ пос дер им проф доц акад канд мед тех физ чл корр"
    " т тт тов гр г-н г-жа св о н э до ок см ср напр др пр рис табл илл гл разд п пп подп ст ч абз изд ред сост пер тыс"
    " млн млрд трлн руб коп долл чел экз шт ед час мин сек км кг мг мл см мм янв февр апр авг сент окт нояб дек пн вт ср чт"
    " пт сб вс т.е т.к т.д т.п т.н и.о к.м.н д.м.н вул буд смт обл ім рр ст грн див мал напр"
    # Greek
    " κ κκ κος κα κ.λπ κτλ π.χ δηλ βλ σελ αρ αριθ τηλ οδ λεωφ πλ καθ δρ στρ άρθρ παρ εδ τομ"
)
_WORDS = frozenset(_LISTS.split())
_LAST = re.compile(r"[^\s(\[\"'“‘«„/]*$")
_VOWEL = re.compile("[aeiouyäöüáéíóúàèìòùâêîôûãõåæøœőűąęěůýıаеёиоуыэюяіїєαεηιουωάέήίόύώ]")
_ROMAN = re.compile(r"[IVXLC]{1,5}$")
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
    if not small.isalpha():
        return False
    if "\u0400" <= small[0] <= "\u052f":
        return size <= 2
    return size <= 4 and small[0] < "\u0250" and _VOWEL.search(small) is None
