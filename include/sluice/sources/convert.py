"""Files become Markdown: what a person would see in them, and nothing that is hidden.

Markdown and plain text are taken as they are. HTML goes through markdownify, without scripts,
styles and hidden elements; DOCX goes through mammoth to HTML first; PDF text comes from PDFium.
The heavy converters are imported on first use.
"""

from __future__ import annotations

import codecs
import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

_MAX_TEXT = 20_000_000  # characters; more is no document that anyone reads
_MAX_UNPACKED = 256 * 2**20  # bytes of all parts of a DOCX together
_MAX_PARTS = 10_000
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_INVISIBLE = ("script", "style", "template", "noscript", "iframe", "object", "svg", "head", "title")
_HIDING = re.compile(r"display:none|visibility:hidden|opacity:0(?![.\d])|font-size:0(?![.\d])")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_FRONT_TITLE = re.compile(
    r"---\n(?:[^\n]*\n)*?title:[ \t]*(['\"]?)([^\n]+?)\1[ \t]*\n(?:[^\n]*\n)*?---\n"
)
_NO_TITLE = {"untitled", "(anonymous)", "unspecified"}  # what PDF writers say when told nothing


class Unconvertible(Exception):
    """The file holds no text that can be read; the message says why, fit for a person."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A file's text as Markdown, and the title it gives itself, if any."""

    text: str
    title: str | None = None


def convert(name: str, raw: bytes) -> Converted:
    """Return what the file called ``name`` says.

    Raises:
        Unconvertible: it cannot be read. Nothing else is raised, whatever the bytes.
    """
    suffix = name.rpartition(".")[2].lower()
    converter = _CONVERTERS.get(suffix, _from_text)
    try:
        converted = converter(raw)
    except Unconvertible:
        raise
    except RecursionError as error:
        raise Unconvertible("is nested too deeply to be read") from error
    except Exception as error:  # a hostile file makes a converter raise anything
        raise Unconvertible(f"is broken: {type(error).__name__} while reading it") from error
    if len(converted.text) > _MAX_TEXT:
        raise Unconvertible(f"holds more than {_MAX_TEXT:,} characters of text")
    return converted


def title_of(text: str) -> str | None:
    """Return the title of a Markdown page: its front matter's, or its first heading.

    A first heading with siblings is the first of several sections and names only itself.
    """
    if front := _FRONT_TITLE.match(text):
        return front[2].strip()
    headings = _headings(text)
    if not headings or Counter(level for level, _ in headings)[headings[0][0]] > 1:
        return None
    return headings[0][1] or None


def title_from_name(path: str) -> str:
    """Return a title for a file that gives itself none: ``a/on-call_rota.md`` is “on call rota”."""
    name = path.rpartition("/")[2]
    stem = name.rpartition(".")[0] or name
    return " ".join(re.split(r"[-_\s]+", stem)).strip() or name


def _headings(text: str) -> list[tuple[int, str]]:
    """Level and words of each heading outside code fences."""
    headings: list[tuple[int, str]] = []
    fence, previous = "", ""
    for line in text.splitlines():
        if mark := _FENCE.match(line):
            if not fence:
                fence = mark[1]
            elif mark[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif not fence:
            if heading := _HEADING.fullmatch(line):
                headings.append((len(heading[1]), heading[2]))
            elif previous.strip() and line.strip() and not line.strip().strip("="):
                headings.append((1, previous.strip()))
        previous = line
    return headings


def _from_text(raw: bytes) -> Converted:
    text = _decode(raw).replace("\r\n", "\n").replace("\r", "\n")
    return Converted(text, title_of(text))


def _from_html(raw: bytes) -> Converted:
    from bs4.dammit import EncodingDetector

    declared = EncodingDetector.find_declared_encoding(raw, is_html=True)
    return _from_markup(_decode(raw, declared or "utf-8"))


def _from_markup(markup: str) -> Converted:
    from bs4 import BeautifulSoup, Comment
    from markdownify import MarkdownConverter

    soup = BeautifulSoup(markup, "html.parser")
    title = " ".join(soup.title.get_text(" ").split()) if soup.title else None
    for comment in soup.find_all(string=lambda found: isinstance(found, Comment)):
        comment.extract()
    for element in soup.find_all(_INVISIBLE):
        element.decompose()
    for element in soup.find_all(_is_hidden):
        if not element.decomposed:
            element.decompose()
    text = MarkdownConverter(
        heading_style="ATX",
        bullets="-",
        table_infer_header=True,
        escape_asterisks=False,  # the text is read by models and stemmers, not by a renderer
        escape_underscores=False,
        strip=["img"],
    ).convert_soup(soup)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    return Converted(text, title or title_of(text))


def _is_hidden(element: object) -> bool:
    attributes = getattr(element, "attrs", None) or {}
    style = re.sub(r"\s", "", str(attributes.get("style", ""))).lower()
    return "hidden" in attributes or bool(_HIDING.search(style))


def _from_docx(raw: bytes) -> Converted:
    import mammoth

    if raw.startswith(b"\xd0\xcf\x11\xe0"):
        raise Unconvertible("is encrypted, or a Word 97 file renamed")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as package:
            parts = package.infolist()
    except zipfile.BadZipFile:
        raise Unconvertible("is no DOCX file") from None
    if len(parts) > _MAX_PARTS or sum(part.file_size for part in parts) > _MAX_UNPACKED:
        raise Unconvertible(f"unpacks to more than {_MAX_UNPACKED:,} bytes")
    html = mammoth.convert_to_html(
        io.BytesIO(raw),
        style_map="p[style-name='Title'] => title:fresh",
        convert_image=mammoth.images.img_element(lambda _: {}),  # pixels are not text
    )
    return _from_markup(html.value)


def _from_pdf(raw: bytes) -> Converted:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(raw)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower() or "security" in str(error).lower()
        raise Unconvertible("is encrypted" if locked else "is no PDF, or a broken one") from None
    try:
        pages = [_pdf_page(document[number]) for number in range(len(document))]
        title = document.get_metadata_dict().get("Title", "").strip()
    finally:
        document.close()
    text = "\n\n".join(page for page in pages if page)
    if not text:
        raise Unconvertible("has no text in it; is it a scan?")
    return Converted(text, title if title and title.lower() not in _NO_TITLE else None)


def _pdf_page(page: object) -> str:
    text_page = page.get_textpage()  # type: ignore[attr-defined]  # pypdfium2 has no types
    try:
        text: str = text_page.get_text_bounded()
    finally:
        text_page.close()
        page.close()  # type: ignore[attr-defined]  # as above
    text = re.sub("[\ufffe\x02]\\s*", "", text)  # PDFium's mark for a word broken at a line's end
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _decode(raw: bytes, declared: str = "utf-8") -> str:
    """Bytes as text, by byte order mark or else as ``declared``; a guess is never made."""
    for mark, encoding in _BOMS:
        if raw.startswith(mark):
            raw, declared = raw[len(mark) :], encoding
            break
    try:
        text = raw.decode(declared)
    except (UnicodeDecodeError, LookupError):
        if b"\0" in raw:
            raise Unconvertible("is not text: it holds NUL bytes") from None
        raise Unconvertible(f"is not valid {declared} text") from None
    if "\0" in text:
        raise Unconvertible("is not text: it holds NUL bytes")
    return text


_CONVERTERS: dict[str, Callable[[bytes], Converted]] = {
    "html": _from_html,
    "htm": _from_html,
    "docx": _from_docx,
    "pdf": _from_pdf,
}
