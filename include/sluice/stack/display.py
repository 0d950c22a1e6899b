"""What `sluice up` shows: a live line on a terminal, plain lines anywhere else."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

Say = Callable[[str], None]
_EXCERPT = 320  # characters of a hit


class Display:
    """Shows phases as they go, and remembers how long each took."""

    def __init__(self, console: Console):
        self.console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, title: str) -> Iterator[Say]:
        """Show ``title`` and the lines last said while the body works, then its seconds."""
        started = time.monotonic()
        said = ""
        with self.console.status(escape(title)) as status:

            def say(text: str) -> None:
                nonlocal said
                if text == said:
                    return
                said = text
                if self.console.is_terminal:
                    lines = "\n".join(f"    {line}" for line in text.splitlines())
                    status.update(f"{escape(title)}\n[dim]{escape(lines)}[/dim]")
                else:
                    self.line(f"  {title}: {'   '.join(text.splitlines())}")

            yield say
        took = self.seconds[title] = time.monotonic() - started
        self._print(f"[green]✓[/green] {escape(title):<16}[cyan]{took:6.1f} s[/cyan]")

    def line(self, text: str = "") -> None:
        """Print a line as it is."""
        self._print(escape(text))

    def heading(self, text: str) -> None:
        """Print a line that others stand under."""
        self._print(f"\n[bold]{escape(text)}[/bold]")

    def hit(self, hit: Mapping[str, Any]) -> None:
        """Print where a hit comes from, what it says, and why it was allowed."""
        path = " > ".join(hit["path"]) or hit["title"]
        self._print(f"  [bold cyan]{hit['rank']}. {escape(path)}[/bold cyan]")
        self._wrapped(textwrap.shorten(_plain(hit["text"]), _EXCERPT, placeholder=" …"), "default")
        self._print(f"     [dim]{escape(hit['uri'])}[/dim]")
        self._wrapped(_because(hit["reason"]), "green")

    def _wrapped(self, text: str, style: str) -> None:
        for line in textwrap.wrap(text, min(self.console.width, 100) - 5):
            self._print(f"     [{style}]{escape(line)}[/{style}]")

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)


def _plain(markdown: str) -> str:
    """Markdown without its marks, as far as an excerpt needs it."""
    text = re.sub(r"^#+ (.*)$", r"\1:", markdown, flags=re.MULTILINE)
    return re.sub(r"\[([^]]*)\]\([^)]*\)|\*\*|`", r"\1", text)


def _because(reason: Mapping[str, Any]) -> str:
    """Why a hit was allowed, as one sentence."""
    until = f" until {reason['expires_at']}" if reason["expires_at"] else ""
    way = " → ".join(reason["via"])
    return f"allowed: {reason['acl_key']} is open to {reason['principal']}{until} ({way})"
