"""YAML that people write about permissions, read without YAML's surprises.

A key given twice is an error (plain YAML keeps the last one, and drops a deny in silence), and
scalars stay text: ``no`` is not False, ``0101`` is not 65. Only dates and nothing-at-all are typed.
"""

from __future__ import annotations

from typing import Any

import yaml

from sluice.errors import BadInput

_MAX_BYTES = 4 * 2**20
_TYPED = {"tag:yaml.org,2002:null", "tag:yaml.org,2002:timestamp"}


def load(raw: bytes) -> Any:
    """Return what ``raw`` says.

    Raises:
        BadInput: it is not YAML, says one thing twice, or is larger than 4 MiB.
    """
    if len(raw) > _MAX_BYTES:
        raise BadInput(f"has {len(raw):,} bytes; at most {_MAX_BYTES:,} are read")
    try:
        return yaml.load(raw, _Loader)  # noqa: S506  # _Loader is a SafeLoader that knows fewer types
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        what = getattr(error, "problem", None) or "unreadable"
        raise BadInput(f"is not YAML: {what}{where}") from None
    except (ValueError, RecursionError) as error:  # 2027-02-31; a thousand nested lists
        raise BadInput(f"is not YAML: {error}") from None


class _Loader(yaml.SafeLoader):
    """Reads every plain scalar as text, except nothing and dates; refuses a repeated key."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own way of configuring a loader
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _TYPED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    problem="a key that is not text", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key!r} is there twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
