"""Files become Markdown: what a person sees, and a reason where nothing can be read."""

from __future__ import annotations

import contextlib
import io
import zipfile

import docx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas
from sluice.sources.convert import Unconvertible, convert, title_from_name, title_of


def pdf(*pages: str, title: str | None = None, password: str | None = None) -> bytes:
    """A PDF with one line of text a page."""
    target = io.BytesIO()
    canvas = Canvas(target, encrypt=StandardEncryption(password) if password else None)
    if title:
        canvas.setTitle(title)
    for page in pages:
        canvas.drawString(72, 720, page)
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def word() -> bytes:
    """A DOCX with a title, a heading, a list and a table."""
    document = docx.Document()
    document.add_heading("Field manual", 0)
    document.add_heading("Masts", 1)
    document.add_paragraph("Guy wires first.", style="List Bullet")
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Bolt", "12 Nm"
    document.add_heading("Batteries", 1)
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


def test_markdown_is_taken_as_it_is() -> None:
    """Markdown keeps every character, with one spelling of line ends."""
    assert convert("a.md", b"# Ti*t*le\r\n\r\na_b\tc\r\n").text == "# Ti*t*le\n\na_b\tc\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_mark_names_the_encoding(encoding: str) -> None:
    """Windows editors' UTF-16 and UTF-8 with a mark are text, not binaries."""
    assert convert("a.txt", "Grüße, 世界".encode(encoding)).text == "Grüße, 世界"


def test_html_loses_what_nobody_sees() -> None:
    """Scripts, styles, comments and hidden elements say nothing; the rest becomes Markdown."""
    converted = convert(
        "a.html",
        b"""<html><head><title>Our  history</title><style>p{}</style></head><body>
        <h1>Our history</h1><script>evil()</script><!-- psst --><noscript>no</noscript>
        <p hidden>secret one</p><p style="DISPLAY : none">secret two</p>
        <p style="font-size:0">secret three</p><div hidden><p hidden>nested</p></div>
        <p style="opacity: 0.9">A <b>bold</b> dog_name &amp; <a href="x.md">link</a></p>
        <table><tr><td>Bolt</td><td>12 Nm</td></tr><tr><td>Nut</td><td>9 Nm</td></tr></table>
        <img src="data:image/png;base64,AAAA" alt="x"></body></html>""",
    )
    assert converted.title == "Our history"
    assert "A **bold** dog_name & [link](x.md)" in converted.text
    assert "| Bolt | 12 Nm |" in converted.text
    for unseen in ("evil", "psst", "secret", "nested", "base64", "p{}", "no\n"):
        assert unseen not in converted.text


def test_html_in_a_declared_encoding_is_read_in_it() -> None:
    """A page that says it is Latin-1 is; one that says nothing must be UTF-8."""
    assert "Gruß" in convert("a.htm", '<meta charset="iso-8859-1"><p>Gruß'.encode("latin-1")).text
    with pytest.raises(Unconvertible, match="not valid utf-8"):
        convert("a.htm", "<p>Gruß".encode("latin-1"))


def test_docx_keeps_headings_lists_and_tables() -> None:
    """The title style names the page; everything else becomes Markdown."""
    converted = convert("a.docx", word())
    assert converted.title == "Field manual"
    assert "# Masts" in converted.text
    assert "- Guy wires first." in converted.text
    assert "| Bolt | 12 Nm |" in converted.text


def test_pdf_gives_the_text_of_every_page() -> None:
    """Pages come in order, and the metadata's title is the title."""
    converted = convert("a.PDF", pdf("First page", "Second page", title="Two pages"))
    assert converted.text == "First page\n\nSecond page"
    assert converted.title == "Two pages"
    assert convert("a.pdf", pdf("x")).title is None


def bomb() -> bytes:
    """A small DOCX that unpacks to 300 MB."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package,
        package.open("word/document.xml", "w") as part,
    ):
        for _ in range(300):
            part.write(b" " * 2**20)
    return target.getvalue()


@pytest.mark.parametrize(
    ("name", "raw", "reason"),
    [
        ("a.md", b"\x7fELF\x02\x01\x01\x00\x00\xff\xfe", "NUL"),
        ("a.md", b"text with a \x00 in it", "NUL"),
        ("a.md", "Grüße".encode("latin-1"), "not valid utf-8"),
        ("a.txt", b"\xff\xfeodd", "not valid utf-16"),
        ("a.html", b'<meta charset="klingon"><p>x', "klingon"),
        ("a.html", b"<div>" * 100_000, "nested too deeply"),
        ("a.pdf", b"", "no PDF"),
        ("a.pdf", b"%PDF-1.7 and then nothing", "no PDF"),
        ("a.pdf", pdf("secret", password="hunter2"), "encrypted"),
        ("a.pdf", pdf(""), "no text"),
        ("a.docx", b"PK\x03\x04 broken", "no DOCX"),
        ("a.docx", b"\xd0\xcf\x11\xe0 old", "Word 97"),
        ("a.docx", b"", "no DOCX"),
    ],
)
def test_what_cannot_be_read_says_why(name: str, raw: bytes, reason: str) -> None:
    """Binaries, wrong encodings, encrypted and broken files are named for what they are."""
    with pytest.raises(Unconvertible, match=reason):
        convert(name, raw)


def test_zip_bomb_is_refused_unopened() -> None:
    """A DOCX is measured by what it would unpack to, before anything is unpacked."""
    with pytest.raises(Unconvertible, match="unpacks to more"):
        convert("a.docx", bomb())


@given(name=st.sampled_from(["a.md", "a.txt", "a.html", "a.pdf", "a.docx"]), raw=st.binary())
@example(name="a.html", raw=b"<![")
@settings(max_examples=150, deadline=None)
def test_no_bytes_make_it_raise_anything_else(name: str, raw: bytes) -> None:
    """Whatever a file holds, it is converted or refused."""
    with contextlib.suppress(Unconvertible):
        convert(name, raw)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# One\n\n## A\n\n## B\n", "One"),
        ("intro\n\n## Only\n\n### a\n### b\n", "Only"),
        ("- Date: today\n\n# Summary\n\n# Motivation\n", None),
        ("```\n# not a heading\n```\n# Real\n", "Real"),
        ("~~~\n```\n# no\n~~~\n# Yes #\n", "Yes"),
        ("Setext\n======\n\n## A\n", "Setext"),
        ('---\ntags: [x]\ntitle: "From the front"\n---\n# Other\n', "From the front"),
        ("---\nnot: front matter\n\n# Heading\n", "Heading"),
        ("#no heading\n", None),
        ("", None),
    ],
)
def test_title_is_the_first_heading_that_stands_alone(text: str, title: str | None) -> None:
    """A first heading with siblings is a section, not the name of the page."""
    assert title_of(text) == title


@pytest.mark.parametrize(
    ("path", "title"),
    [("a/on-call_rota.md", "on call rota"), ("README", "README"), ("x/---.md", "---.md")],
)
def test_file_name_gives_a_title_where_nothing_else_does(path: str, title: str) -> None:
    """Dashes and underscores separate words."""
    assert title_from_name(path) == title
