"""Language tags as players want them: BCP 47, from what containers and people write. Pure.

Containers carry three-letter ISO 639-2 codes; players compare two-letter ones. Refuses nothing:
what is unknown becomes `und`. Enter at `film_language` and `language_tag`.
"""

from __future__ import annotations

import re

_TWO_LETTERS: dict[str, str] = {
    pair[:3]: pair[4:]
    for pair in (
        "eng=en ger=de deu=de fre=fr fra=fr spa=es ita=it por=pt dut=nl nld=nl swe=sv nor=no nob=nb "
        "dan=da fin=fi pol=pl cze=cs ces=cs slo=sk slk=sk hun=hu rum=ro ron=ro bul=bg gre=el ell=el "
        "tur=tr rus=ru ukr=uk ara=ar heb=he hin=hi jpn=ja kor=ko chi=zh zho=zh vie=vi tha=th ind=id "
        "may=ms msa=ms per=fa fas=fa hrv=hr srp=sr slv=sl est=et lav=lv lit=lt cat=ca baq=eu eus=eu "
        "glg=gl ice=is isl=is gle=ga lat=la ben=bn tam=ta tel=te urd=ur"
    ).split()
}
_TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8}){0,3}", re.IGNORECASE)


def film_language(text: str) -> str:
    """Turn a container's language code into a two-letter tag that every engine knows, else `und`."""
    code = text.strip().lower()[:3].rstrip("-_")
    return code if code in _TWO_LETTERS.values() else _TWO_LETTERS.get(code, "und")


def language_tag(text: str) -> str:
    """Turn a language code into a BCP 47 tag such as `en` or `pt-BR`; `und` when it is unknown."""
    text = text.strip().replace("_", "-")
    if not _TAG.fullmatch(text):
        return "und"
    first, dash, rest = text.partition("-")
    first = first.lower()
    return _TWO_LETTERS.get(first, first) + dash + rest
