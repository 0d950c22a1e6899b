"""Sluice keeps AI agents supplied with context that is fresh, permitted and traceable.

The modules, in the order the data flows:

    sources      what is read: files, tables, the people directory
    landing      dlt brings rows into Postgres, at least once
    validation   Great Expectations tells good rows from bad, good loads from bad
    documents    a landed row becomes a Document
    chunking     a Document becomes Chunks
    embedding    Chunks become vectors, each once
    index        where candidates are found
    ingest       all of the above for one source, and the flip that makes it visible
    access       who may read what: the one choke point
    retrieve     a question becomes permitted Hits
    audit        the proof of every read

Between: ``collections`` opens what an index and its embedder are; ``budget``, ``limits`` and
``metering`` let requests to a provider go, paid for and in turn.

Below them: ``catalog`` (Postgres, the authority), ``ports``, ``settings``, ``model``, ``errors``.
Above them: ``flows`` (Airflow), ``api``, ``cli``, ``stack`` (everything on one machine).
"""

__version__ = "0.1.0"
