"""The filled index with exact search, which is only read."""

from collections.abc import Iterator

import pytest

from filled_index import fill, fitted_space
from fillgap.search import MixedIndex, create_index


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MixedIndex]:
    with create_index(tmp_path_factory.mktemp("filled") / "index", fitted_space()) as made:
        fill(made)
        yield made
