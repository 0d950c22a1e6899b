"""Drafts as the table that expectations are about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sluice.model import Draft, Listing

if TYPE_CHECKING:
    import pandas as pd

_TEXTS = (
    "row_key", "native_id", "title", "text", "uri", "acl_key", "acl_error", "problem",
)  # fmt: skip
_IMPOSSIBLE = datetime(1, 1, 1, tzinfo=UTC).replace(tzinfo=None)


def frame(drafts: Sequence[Draft], listing: Listing | None) -> pd.DataFrame:
    """Return one row per draft that the source still holds.

    ============  =========================================================================
    row_key       names the row
    native_id     the source's own id
    title, text   null where the mapper could not read them and ``problem`` says why
    uri
    created_at    UTC, without a zone
    updated_at
    backwards     seconds from creation back to the last update, 0 where they are in order
    damage        fraction of the text that is U+FFFD, the mark of a failed decoding, 0 to 1
    acl_key       null where the source gave none
    acl_error     why the ACL cannot be read
    problem       what the mapper saw
    ============  =========================================================================

    Without a listing (a backfill) the ACL columns say nothing against any row.
    """
    import pandas as pd

    kept = [d for d in drafts if listing is None or d.key in listing.acl_keys]
    lines = [_texts(draft, listing) for draft in kept]
    columns = {
        name: pd.Series([line[place] for line in lines], dtype="object")
        for place, name in enumerate(_TEXTS)
    }
    return pd.DataFrame(
        {
            **columns,
            "created_at": _times([d.created_at for d in kept]),
            "updated_at": _times([d.updated_at for d in kept]),
            "backwards": pd.Series([_backwards(d) for d in kept], dtype="float64"),
            "damage": pd.Series([_damage(d.text) for d in kept], dtype="float64"),
        }
    )


def _texts(draft: Draft, listing: Listing | None) -> tuple[str | None, ...]:
    acl_key, acl_error = _acl(draft.key, listing)
    problem = "; ".join(draft.problems) or None
    text: str | None = draft.text or ""
    if problem and not (text or "").strip():
        text = None  # one reason is enough: it is not called empty as well
    return (
        draft.key, draft.native_id, draft.title, text, draft.uri, acl_key, acl_error, problem,
    )  # fmt: skip


def _acl(key: str, listing: Listing | None) -> tuple[str | None, str | None]:
    if listing is None:
        return "", None
    acl_key = listing.acl_keys[key]
    if acl_key is None:
        return None, None
    acl = listing.acls.get(acl_key)
    if acl is None:  # of what did not change, the catalog knows it
        return acl_key, "it was not read" if listing.whole else None
    return acl_key, acl.error


def _times(moments: Sequence[datetime | None]) -> pd.Series:
    import pandas as pd

    return pd.Series([_utc(moment) for moment in moments], dtype="datetime64[us]")


def _utc(moment: datetime | None) -> datetime | None:
    try:
        return moment.astimezone(UTC).replace(tzinfo=None) if moment else None
    except OverflowError:  # the year 0, or 10000, in UTC: impossible either way
        return _IMPOSSIBLE


def _backwards(draft: Draft) -> float:
    created, updated = _utc(draft.created_at), _utc(draft.updated_at)
    if created is None or updated is None:
        return 0.0
    return max(0.0, (created - updated).total_seconds())


def _damage(text: str | None) -> float:
    return text.count("\ufffd") / len(text) if text else 0.0
