"""# Move the index

Builds another collection of chunks (another backend, another embedding model, or the same anew)
while the present one serves, compares it with what it should be, and lets it serve. It runs only
when you **Trigger** it. Owner: the platform team. `docs/migrate.md` tells the whole story.

`forecast` says how many documents, chunks and tokens there are, how long it will take and what it
will cost. Then the rest begins; to decide by the forecast, run `sluice index migrate`, which asks.
Where what serves is as wanted already, everything is skipped. `build` fills the new collection;
whatever is published meanwhile goes into both. `compare` counts every document, reads some word by
word and measures recall. `switch` changes index and embedding model in one step. The one before is
kept.

## When something is wrong

- **`build` failed or was killed.** Clear the task, or trigger again with the same choices: it goes
  on where it was, and embeds nothing twice.
- **`build` says another migration is unfinished.** Somebody began one with other choices. Trigger
  with those, or give it up: `sluice index list`, `sluice index drop ID`.
- **`build` says SLUICE_WEAVIATE_URL is not set.** Set it for *every* process that ingests or
  answers, and restart those, before you begin.
- **`compare` failed.** It says what differs. The old collection serves on, and nothing is lost.
  Lost chunks are written again when you clear `build` and what follows it. Anything else is a
  reason to give the new collection up.
- **Answers are worse after `switch`.** `sluice index rollback` goes back, in seconds.

When all is well: `sluice index drop ID` removes the old collection. Until then every run writes
into both.
"""

from __future__ import annotations

from sluice.flows import reindex_dag  # Airflow looks for DAGs where a file says "airflow" and "dag"

dag = reindex_dag(runbook=__doc__, owner="platform-team")
