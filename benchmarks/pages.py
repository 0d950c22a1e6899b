"""Pages of real sentences in two folder trees: an archive that rests, and a desk that changes.

The sentences are those of a test collection's abstracts, drawn anew for every section, so that
words are as rare as they are in real text and no two sections are alike. A section is about one
chunk. A title has a code that no other page has, and the number of its edition: so a question can
be about one page, and a hit's path shows which version the index found.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

SECTIONS, SENTENCES = 4, 7  # of a page, and of a section
PEOPLE = tuple(f"user:reader{i:02}@example.com" for i in range(50))
_EDITION = re.compile(r" edition (\d+): ")
_SENTENCE = re.compile(r"(?<=[.?!]) +(?=[A-Z])")


def sentences(texts: Sequence[str]) -> list[str]:
    """The sentences of ``texts`` that are neither very short nor very long."""
    found = (each for text in texts for each in _SENTENCE.split(text))
    return [each.strip() for each in found if 60 <= len(each) <= 300]


def edition(title: str) -> int:
    """The edition that a page's title names; 0 where it names none."""
    found = _EDITION.search(title)
    return int(found.group(1)) if found else 0


@dataclass(slots=True)
class Tree:
    """A folder of folders of pages, and who may read each folder."""

    root: Path
    name: str
    stock: Sequence[str]
    chance: random.Random
    editions: dict[str, int] = field(default_factory=dict)  # by page, as its path below the root
    readers: dict[str, set[str]] = field(default_factory=dict)  # by folder
    written: int = 0

    def plant(self, pages: int, folders: int, share: float) -> None:
        """Write ``pages`` into ``folders``; a person reads each with a chance of ``share``."""
        for number in range(folders):
            folder = f"{self.name}{number:03}"
            (self.root / folder).mkdir(parents=True)
            self.readers[folder] = {each for each in PEOPLE if self.chance.random() < share}
            self._rule(folder)
        for _ in range(pages):
            self.add()

    def change(self, edited: int, deleted: int, added: int) -> None:
        """Edit, delete and add pages; one person loses a folder and another gains one."""
        for page in self.chance.sample(sorted(self.editions), edited):
            self.editions[page] += 1
            self._write(page)
        for page in self.chance.sample(sorted(self.editions), deleted):
            (self.root / page).unlink()
            del self.editions[page]
        for _ in range(added):
            self.add()
        self.regrant()

    def add(self) -> None:
        """Write a new page into some folder."""
        page = f"{self.chance.choice(sorted(self.readers))}/{self.name}{self.written:06}x.md"
        self.written += 1
        self.editions[page] = 1
        self._write(page)

    def regrant(self) -> None:
        """Take a folder from one of its readers, and give one to somebody who had it not."""
        folders = sorted(self.readers)
        loses = self.chance.choice([each for each in folders if len(self.readers[each]) > 1])
        self.readers[loses].discard(self.chance.choice(sorted(self.readers[loses])))
        gains = self.chance.choice(folders)
        self.readers[gains].add(self.chance.choice(PEOPLE))
        for folder in {loses, gains}:
            self._rule(folder)

    def question(self) -> str:
        """Some words of some sentence, as a person might ask."""
        words = self.chance.choice(self.stock).split()
        first = self.chance.randrange(max(1, len(words) - 8))
        return " ".join(words[first : first + 8])

    def _write(self, page: str) -> None:
        head = " ".join(self.chance.choice(self.stock).split()[:6])
        sections = [
            f"## {' '.join(self.chance.choice(self.stock).split()[:5])}\n\n"
            f"{' '.join(self.chance.choices(self.stock, k=SENTENCES))}"
            for _ in range(SECTIONS)
        ]
        # The edition stands where no chunk's path is ever cut off.
        title = f"{Path(page).stem} edition {self.editions[page]}: {head}"
        text = f"# {title}\n\n" + "\n\n".join(sections) + "\n"
        (self.root / page).write_text(text)

    def _rule(self, folder: str) -> None:
        rule = {"allow": sorted(self.readers[folder])}
        (self.root / folder / ".access.yaml").write_text(yaml.safe_dump(rule))
