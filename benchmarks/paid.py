"""A provider on loopback that keeps the bill, and the settings that lead to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import openai_server
from openai_server import OpenAIServer

MODEL = "text-embedding-3-small"


@contextmanager
def provider(folder: Path, dimensions: int) -> Iterator[tuple[OpenAIServer, dict[str, str]]]:
    """Run it while the body works, with the environment of whoever is to use it.

    Args:
        folder: gets the file that describes it.
        dimensions: of its vectors; prices are OpenAI's whatever they are.
    """
    with openai_server.start() as running:
        file = folder / "endpoints.toml"
        file.write_text(
            f'[loopback]\nbase_url = "{running.url}"\napi_key = "LOOPBACK_KEY"\nbatch = true\n'
            f'timeout = 600.0\n[loopback.models."{MODEL}"]\ndimensions = 1536\nshortens = true\n'
            'window = 8192\nvocabulary = "cl100k_base"\n'
            'prices = [{ from = 2024-01-25, standard = "0.02", batch = "0.01" }]\n'
        )
        yield (
            running,
            {
                "LOOPBACK_KEY": running.key,
                "SLUICE_ENDPOINTS": str(file),
                "SLUICE_EMBEDDER": f"loopback/{MODEL}@{dimensions}",
            },
        )
