"""The type of the fixture ``run``; a module of its own, for every folder of tests has a ``conftest``."""

from __future__ import annotations

from collections.abc import Callable

# Words of a command -> status, standard output, standard error.
Run = Callable[..., tuple[int, str, str]]
