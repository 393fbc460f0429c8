"""A server of the bundled scenes on a free port."""

from collections.abc import Iterator

import pytest

from fillgap.search import open_index
from fillgap.serve import build_demo_index, create_app
from remote_servers import running


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = build_demo_index(tmp_path_factory.mktemp("serve") / "demo")
    with (
        open_index(path) as index,
        running(create_app(index, max_bytes=200_000, max_pixels=10_000)) as started,
    ):
        yield started
