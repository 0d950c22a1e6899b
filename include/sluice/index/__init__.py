"""Where candidates are found: term analysis, rank fusion, and the stores behind ``ports.Index``."""
