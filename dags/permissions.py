"""# People and groups

Who belongs to which group, and which native account is whose: the sample company's
`include/sample/people.yaml`. Owner: IT. What a *document* allows comes with the document, from its
own source; this DAG only says who the people behind those rules are.

It reads the whole file every ten minutes and replaces what was known in one transaction, so that
whoever joined or left a group gains or loses access on the next question. Nothing is embedded or
indexed again.

## When something is wrong

- **`sync` failed at once.** The file contradicts itself, such as one account for two people; the
  message names it. Everyone keeps the access they had. Mend the file and trigger.
- **`sync` retries.** The file cannot be read. Everyone keeps the access they had. It tries five
  times in all; after that, mend the folder and clear the task.
- **Someone sees too little.** They are in no group that is allowed, or a deny wins:
  `sluice search --as user:their@address "…"` shows what they get, and by which rule.
"""

from __future__ import annotations

from pathlib import Path

from sluice.flows import permissions_dag  # Airflow looks for files that say "airflow" and "dag"
from sluice.sources import People

SAMPLE = Path(__file__).resolve().parents[1] / "include" / "sample"

dag = permissions_dag(
    People(name="permissions", url=str(SAMPLE / "people.yaml")),
    runbook=__doc__,
    schedule="*/10 * * * *",
    owner="it",
)
