"""Where candidates are found: term analysis, rank fusion, and the stores behind ``ports.Index``."""

import os

# Read when lancedb is imported. Its warnings are about its own partitions, and nobody can act on
# them; what goes wrong reaches us as an exception.
os.environ.setdefault("LANCEDB_LOG", "error")
