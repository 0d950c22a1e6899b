"""People, groups and native accounts, from one YAML file.

    people:
      - {id: user:ada@example.com, name: Ada, title: Director, accounts: {helpdesk: "101"}}
    groups:
      - {id: group:company:leads, members: [user:ada@example.com, group:company:board]}

``accounts`` says who a source's own user ids are: ``account:helpdesk:101`` is Ada. Groups may nest,
in circles too. A file that contradicts itself is refused whole, and what was known stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.errors import BadInput, SourceError, SourceUnavailable
from sluice.model import Identity, Membership, Policy, Principal, PrincipalKind
from sluice.sources import strict_yaml
from sluice.sources.reading import check_name

_PERSON = {"id", "name", "title", "accounts"}
_GROUP = {"id", "name", "members"}
_MEMBERS = {PrincipalKind.USER, PrincipalKind.GROUP, PrincipalKind.ACCOUNT}
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """A people file at ``url``: a local path or any fsspec URL, opened with ``storage_options``."""

    name: str
    url: str
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        check_name(self.name)

    def read(self) -> tuple[Sequence[Membership], Sequence[Identity]]:
        """Return every membership and every account that the file names.

        Raises:
            SourceUnavailable: the file cannot be read.
            SourceError: it says something impossible; the message names it.
        """
        found = _File()
        try:
            content = strict_yaml.load(self._bytes())
        except BadInput as error:
            raise SourceError(str(error), subject=self.url) from None
        found.read(content)
        if found.problems:
            shown = "; ".join(found.problems[:_SHOWN])
            more = len(found.problems) - _SHOWN
            raise SourceError(
                shown + (f"; and {more} more" if more > 0 else ""),
                subject=self.url,
                cure="Nothing was changed; correct the file and run again",
            )
        return found.memberships, found.identities

    def _bytes(self) -> bytes:
        try:
            if "://" not in self.url:
                return Path(self.url).read_bytes()
            import fsspec

            with fsspec.open(self.url, "rb", **self.storage_options) as file:
                return bytes(file.read())
        except Exception as error:  # every store has exceptions of its own
            raise SourceUnavailable(
                f"the people file cannot be read: {error or type(error).__name__}",
                subject=self.url,
                cure="What was known stays; check the address and run again",
            ) from error


class _File:
    """What the file says, and everything that is wrong with it."""

    def __init__(self) -> None:
        self.memberships: list[Membership] = []
        self.identities: list[Identity] = []
        self.problems: list[str] = []

    def read(self, content: Any) -> None:
        if not isinstance(content, dict) or not set(content) <= {"people", "groups"}:
            self.problems.append("expected people: and groups:, and nothing else, at the top")
            return
        for line in self._lines(content, "people", _PERSON):
            self._person(line)
        for line in self._lines(content, "groups", _GROUP):
            self._group(line)
        self._twice("account", Counter(str(i.account) for i in self.identities))
        self._twice("membership", Counter(f"{m.member} in {m.group}" for m in self.memberships))

    def _lines(
        self, content: Mapping[str, Any], part: str, known: set[str]
    ) -> Iterator[dict[str, Any]]:
        lines = content.get(part) or []
        if not isinstance(lines, list):
            self.problems.append(f"{part}: expected a list")
            return
        ids: Counter[str] = Counter()
        for number, line in enumerate(lines, 1):
            if not isinstance(line, dict) or "id" not in line:
                self.problems.append(f"{part}: entry {number} has no id")
            elif unknown := sorted(set(line) - known):
                self.problems.append(f"{line['id']}: no such key: {unknown[0]}")
            else:
                yield line
                if (principal := self._principal(line["id"], set(PrincipalKind))) is not None:
                    ids[str(principal)] += 1
        self._twice(f"entry of {part}", ids)

    def _person(self, line: Mapping[str, Any]) -> None:
        person = self._principal(line["id"], {PrincipalKind.USER})
        accounts = line.get("accounts") or {}
        if not isinstance(accounts, dict):
            self.problems.append(f"{line['id']}: accounts: expected a source and an id each")
            return
        for source, native in accounts.items():
            for each in native if isinstance(native, list) else [native]:
                account = self._principal(f"account:{source}:{each or ''}", {PrincipalKind.ACCOUNT})
                if person and account:
                    self.identities.append(Identity(account, person))

    def _group(self, line: Mapping[str, Any]) -> None:
        group = self._principal(line["id"], {PrincipalKind.GROUP})
        members = line.get("members") or []
        if not isinstance(members, list):
            self.problems.append(f"{line['id']}: members: expected a list")
            return
        for each in members:
            member = self._principal(each, _MEMBERS)
            if group and member:
                self.memberships.append(Membership(group, member))

    def _principal(self, text: Any, kinds: set[PrincipalKind]) -> Principal | None:
        try:
            if not isinstance(text, str):
                raise BadInput("a principal is text", subject=repr(text)[:80])
            principal = Principal.parse(text)
            if principal.kind not in kinds:
                raise BadInput(f"cannot be a {principal.kind} here", subject=text)
        except BadInput as error:
            problem = str(error)
            if problem not in self.problems:
                self.problems.append(problem)
            return None
        return principal

    def _twice(self, what: str, counts: Counter[str]) -> None:
        self.problems += [f"{name}: a second {what}" for name, n in counts.items() if n > 1]
