"""# The handbook

Every page of the sample company's handbook, `include/sample/handbook/`: Markdown, HTML and text.
Owner: the people team. Each folder's `.access.yaml`, or the nearest one above, says who may read.

The DAG lists the whole folder every hour, reads what changed since, and makes new pages, edits,
moves, deletions and permissions visible in one step. **Trigger** it to see an edit at once.

## When something is wrong

- **`validate` failed: documents are gone.** More pages vanished at once than the policy allows.
  Nothing was published; the old pages keep answering. Meant? Trigger with *Publish a held load*.
  Not meant? Bring the folder back and trigger again.
- **`quarantined` is above 0 in `publish`.** Pages that cannot be read, are empty, or stand under a
  broken `.access.yaml`. The rest went live. `sluice quarantine list` says why; mend the page, and
  the next run takes it up.
- **`extract` retries.** The folder does not answer. It tries five times in all; after that, mend
  the folder and clear the task.
- **A page is in no answer.** It is in quarantine, or nobody may read it: `sluice quarantine list`,
  then its `.access.yaml`.

**Data Docs** on the `validate` task shows what was checked, rule by rule.

## Reading again

`airflow backfill create --dag-id handbook --from-date 2026-01-05 --to-date 2026-01-06` reads the
files that were modified in that day once more, one run an hour. For a longer stretch, **Trigger**
with *Read again from*: one run for all of it. A second reading changes nothing that is already
right, and embeds nothing twice.
"""

from __future__ import annotations

from pathlib import Path

from sluice.flows import ingest_dag  # Airflow looks for DAGs where a file says "airflow" and "dag"
from sluice.sources import Files

SAMPLE = Path(__file__).resolve().parents[1] / "include" / "sample"

dag = ingest_dag(
    Files(name="handbook", url=str(SAMPLE / "handbook")),
    runbook=__doc__,
    schedule="@hourly",
    owner="people-team",
)
