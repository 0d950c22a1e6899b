"""Text becomes terms: the one analysis of chunks and questions, whatever the store.

A store only splits the result on spaces, so every store ranks alike. What happens to a text:

* NFKC, case folded, accents and invisible characters off: ``Résumé`` and ``resume`` are one term.
* Words are stemmed (Snowball English) unless they hold a digit; English stop words are dropped.
* A compound gives its parts, and itself as one term where it looks like a name rather than prose:
  it holds a digit, or ``. _ @``, or starts with one or two letters. So ``MGP-2`` is found by
  ``mgp-2``, ``MGP 2`` and ``mgp2``; ``config.yaml`` by ``config``; ``e-mail`` by ``email``.
* Scripts that are written without spaces give overlapping pairs of characters.

A question of stop words alone has no terms; the vectors answer it. A change here changes what
stored terms mean: raise :data:`ANALYSIS`.
"""

from __future__ import annotations

import functools
import re
import threading
import unicodedata
from collections.abc import Iterator

# Never PyStemmer, which the package prefers where it is installed: its version may differ.
from snowballstemmer.english_stemmer import EnglishStemmer  # type: ignore[import-untyped]

ANALYSIS = 1
_LONGEST = 64  # characters of a term; of a longer word the start is kept

_ENGLISH = """
    a about above after again against all am an and any are aren't as at be because been before
    being below between both but by can't cannot could couldn't did didn't do does doesn't
    doing don't down during each few for from further had hadn't has hasn't have haven't having he
    he'd he'll he's her here here's hers herself him himself his how how's i i'd i'll i'm i've if
    in into is isn't it it's its itself let's me more most mustn't my myself no nor not of off
    on once only or other ought our ours ourselves out over own same shan't she she'd she'll she's
    should shouldn't so some such than that that's the their theirs them themselves then there
    there's these they they'd they'll they're they've this those through to too under until up very
    was wasn't we we'd we'll we're we've were weren't what what's when when's where where's which
    while who who's whom why why's will with won't would wouldn't you you'd you'll you're you've
    your yours yourself yourselves
"""
_STOP_WORDS = frozenset(_ENGLISH.split())

_MARKS = "".join(c for c in map(chr, range(0x10000)) if unicodedata.category(c) in {"Mn", "Mc"})
# Thai, Lao, Myanmar, Khmer, kana, Han, Hangul, and the Han of the higher planes:
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_UNSPACED += "\uf900-\ufaff\U00020000-\U0003ffff"
_LETTER = rf"(?:[^\W_]|[{_MARKS}])"
_WORD = rf"[^\W_]{_LETTER}*(?:'{_LETTER}+)*"
_COMPOUND = re.compile(rf"{_WORD}(?:[-+&._@]{_WORD})*")
_ASCII_WORD = "[a-z0-9]+(?:'[a-z0-9]+)*"
_ASCII_COMPOUND = re.compile(rf"{_ASCII_WORD}(?:[-+&._@]{_ASCII_WORD})*")  # the same, and faster
_PART = re.compile(_WORD)
_RUN = re.compile(rf"(?P<unspaced>[{_UNSPACED}][{_UNSPACED}{_MARKS}]*)|[^{_UNSPACED}]+")
_NAME = re.compile(r"\d|[._@]|^\w{1,2}\W")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ACCENTS = re.compile("[\u0300-\u036f]")
# Zero-width, soft hyphen, direction marks, tags: what prints as nothing splits no word.
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff]"
)

_stemmer = EnglishStemmer()
_stemmer_lock = threading.Lock()  # a stemmer keeps the word it works on in itself


def analyse(text: str) -> str:
    """Return the terms of ``text`` in reading order, joined by single spaces."""
    folded = _fold(text)
    found = (_ASCII_COMPOUND if folded.isascii() else _COMPOUND).findall(folded)
    short = max(map(len, found), default=0) <= _LONGEST
    return " ".join(filter(None, map(_remembered if short else _terms_of, found)))


def _fold(text: str) -> str:
    if text.isascii():
        return _THOUSANDS.sub("", text.lower())
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    text = _ACCENTS.sub("", unicodedata.normalize("NFKD", _INVISIBLE.sub("", text)))
    return _THOUSANDS.sub("", unicodedata.normalize("NFC", text))


def _terms_of(compound: str) -> str:
    return _remembered(compound) if len(compound) <= _LONGEST else " ".join(_terms(compound))


@functools.lru_cache(maxsize=1 << 17)  # by short compounds only: a path may be of any length
def _remembered(compound: str) -> str:
    return " ".join(_terms(compound))


def _terms(compound: str) -> Iterator[str]:
    parts = _PART.findall(compound)
    for part in parts:
        yield from _part_terms(part)
    if len(parts) > 1 and _NAME.search(compound):
        yield from _whole(parts)


def _part_terms(part: str) -> Iterator[str]:
    if part.isascii():
        if part not in _STOP_WORDS:
            yield _stem(part[:_LONGEST])
        return
    for found in _RUN.finditer(part):
        run = found.group()
        if found["unspaced"]:
            yield from (run[i : i + 2] for i in range(max(1, len(run) - 1)))
        else:
            yield _stem(run[:_LONGEST])


def _whole(parts: list[str]) -> Iterator[str]:
    """The compound as one term; a point stays between digits, so that 1.5 is not 15."""
    whole = parts[0]
    for part in parts[1:]:
        whole += "." + part if whole[-1].isdigit() and part[0].isdigit() else part
        if len(whole) > _LONGEST:  # nobody types it: its parts find it
            return
    yield _stem(whole)


@functools.lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    if any(c.isdigit() for c in word):
        return word.replace("'", "")
    with _stemmer_lock:
        stem: str = _stemmer.stemWord(word)
    return stem.replace("'", "") or word
