"""Ten thousand Markdown sections in a folder tree, the same bytes every time.

Each section is one file of one heading and about 120 words, short enough to be one chunk of any
chunker, so that everybody who indexes the tree has the same chunks. No two have the same text.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SEED = 20_261_124
# fmt: off
DEPARTMENTS = (
    "finance", "people", "legal", "support", "field-service", "warehouse", "purchasing",
    "engineering", "firmware", "security", "facilities", "training", "marketing", "sales",
    "tenders", "fleet", "laboratory", "quality", "data", "travel",
)
FOLDERS = (
    "onboarding", "incidents", "contracts", "handovers", "reviews", "checklists", "tools",
    "suppliers", "meetings", "plans",
)
# fmt: on

_WORDS = {
    "thing": (
        "the pump controller|the tide gauge|the spare parts ledger|the shift roster|the badge "
        "reader|the calibration rig|the invoice archive|the harbour gateway|the cold store|the "
        "release checklist|the travel form|the escalation list|the sensor firmware|the loan "
        "register|the audit folder|the delivery van|the training room|the service contract"
    ),
    "who": (
        "the duty engineer|whoever is on call|the depot manager|a second reader|the account owner|"
        "the night shift|the quality lead|the new starter|the payroll clerk|the field crew|the "
        "supplier's contact|a colleague from another team|the release captain|the safety officer"
    ),
    "act": (
        "checks|signs off|replaces|orders|archives|reviews|restarts|labels|photographs|hands over|"
        "measures|books|returns|approves|closes|reopens|schedules|inspects|records|rejects"
    ),
    "when": (
        "before noon on Monday|within two working days|at the end of every shift|once a quarter|"
        "after the first frost|on the last Friday of the month|before the ferry leaves|within the "
        "hour|as soon as the alarm clears|at the start of the season|every second Wednesday"
    ),
    "where": (
        "in Cold Harbour|at the northern depot|in the Juniper building|on pier four|in the test "
        "hall|at the customer's site|in the shared mailbox|behind the goods lift|in room B12|on "
        "the staging cluster|at the Alder Street office|in the blue cabinet|on the intranet page"
    ),
    "why": (
        "because two earlier faults began exactly there|since the insurer asks for it|so that "
        "nobody has to guess later|because the old form lost signatures|since spare parts take six "
        "weeks|so that the figures match the ledger|because the water was never quite gone|since "
        "an unread warning helps nobody|so that a stranger could carry on from the notes"
    ),
}
_SENTENCES = (
    "{Who} {act} {thing} {when}, {why}.",
    "If {thing} stands {where}, {who} {act} it {when} and notes the number {n} beside the date.",
    "Nothing leaves until {who} {act} {thing}; the limit is {n} and has been since revision {m}.",
    "{Thing} is kept {where}, where {who} {act} it {when}.",
    "Ask {who} first: case {n} was closed too early, and {thing} had to be opened again {when}.",
    "A reading above {m} means that {who} {act} {thing} {where} without waiting for a ticket.",
    "Last year this took {m} hours; now {who} {act} {thing} {when}, {why}.",
    "Form {n} is enough for {thing}, unless {who} works {where}.",
)


def build(root: Path, count: int) -> None:
    """Write ``count`` sections below ``root``, with permissions for every folder of them.

    Twenty departments, each with its group; three folders in ten have rules of their own.
    """
    chance = random.Random(SEED)
    for number in range(count):
        write(root / place(number), number, chance)
    allow(root, "group:company:everyone")
    for department in DEPARTMENTS:
        if (root / department).is_dir():
            allow(root / department, f"group:company:{department}")
            for folder in FOLDERS[:3]:
                allow(root / department / folder, f"group:company:{department}-{folder}")


def place(number: int) -> Path:
    """Where section ``number`` lies: departments and folders in turn, so that each fills alike."""
    department = DEPARTMENTS[number % len(DEPARTMENTS)]
    folder = FOLDERS[number // len(DEPARTMENTS) % len(FOLDERS)]
    return Path(department, folder, f"{number:05d}.md")


def write(path: Path, number: int, chance: random.Random) -> None:
    """Write one section: ``# heading``, an empty line, one paragraph."""
    path.parent.mkdir(parents=True, exist_ok=True)
    heading = f"Note {number}: {_pick('thing', chance).removeprefix('the ')}"
    body = " ".join(_sentence(chance) for _ in range(6))
    path.write_text(f"# {heading}\n\n{body}\n", encoding="utf-8")


def allow(folder: Path, *principals: str) -> None:
    """Let ``principals``, and nobody else, read what lies in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"  - {each}\n" for each in principals)
    (folder / ".access.yaml").write_text(f"allow:\n{lines}", encoding="utf-8")


def paths(root: Path) -> Iterator[Path]:
    """Every section that is there now, in one order for everybody."""
    return iter(sorted(root.rglob("*.md")))


def read(root: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each section as ``(relative path, what is embedded, {})``: a loader of no cost.

    What is embedded is what Sluice's own chunker makes of such a file: the heading, a line end,
    the paragraph.
    """
    for path in paths(root):
        heading, _, body = path.read_text("utf-8").partition("\n\n")
        text = heading.removeprefix("# ") + "\n" + body.rstrip()
        yield path.relative_to(root).as_posix(), text, {}


def change(root: Path, edited: int, deleted: int, added: int) -> None:
    """Edit, delete and add so many sections, spread over the whole tree."""
    chance = random.Random(SEED + 1)
    there = list(paths(root))
    chosen = chance.sample(there, edited + deleted)
    for path in chosen[:edited]:
        path.write_text(path.read_text("utf-8").rstrip() + f" {_sentence(chance)}\n", "utf-8")
    for path in chosen[edited:]:
        path.unlink()
    first = len(there)
    for number in range(first, first + added):
        write(root / place(number), number, chance)


def _sentence(chance: random.Random) -> str:
    words = {name: _pick(name, chance) for name in _WORDS}
    words |= {name.capitalize(): _capital(value) for name, value in words.items()}
    template = chance.choice(_SENTENCES)
    return template.format(n=chance.randrange(1000, 10_000), m=chance.randrange(2, 99), **words)


def _pick(name: str, chance: random.Random) -> str:
    return chance.choice(_WORDS[name].split("|"))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
