"""The documents show what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/README.md"), *ROOT.glob("examples/*/README.md")]
)
PLAIN = ["examples/go/hello/main.go", "examples/node/hello.js"]


@pytest.mark.parametrize("path", PLAIN)
def test_the_readme_shows_the_plain_clients(path: str) -> None:
    """As they are, and they are short."""
    text = (ROOT / path).read_text()
    assert f"\n{text}```\n" in (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 50


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """To files that are there."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())
    for link in links:
        assert "://" in link or (document.parent / link).exists(), f"{document.name} links to {link}"
