"""The hook of mkdocs that puts generated tables and directives into the pages.

A line `<!-- fillgap: NAME ARGUMENTS -->` is replaced by what the function NAME of docs_tables
returns, and `{{ scenes.KEY }}` by what was measured on the bundled scenes. Nothing that is made
from the code or the data is written twice.
"""

from __future__ import annotations

import re
from typing import Any

import docs_tables

GENERATORS = {
    "api": docs_tables.api,
    "module": docs_tables.module,
    "names": docs_tables.names,
    "aligners": docs_tables.aligners,
    "measures": docs_tables.measures,
    "commands": docs_tables.commands,
    "evidence": docs_tables.evidence,
    "overview": docs_tables.overview,
}
PLACE = re.compile(r"^<!-- fillgap: (\w+)((?: [\w.-]+)*) -->$", re.MULTILINE)

TOLD = re.compile(r"\{\{ scenes\.(\w+) \}\}")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the source of a page with everything generated in its place."""
    markdown = PLACE.sub(lambda match: GENERATORS[match[1]](*match[2].split()), markdown)
    return TOLD.sub(lambda match: docs_tables.told(match[1]), markdown)
