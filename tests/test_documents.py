"""The documents show what is there, in lines that a change and a reader can follow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INSTALLED = {"node_modules", "target", "build", "vendor"}
"""Directories that other people's documents come into when the examples are built."""
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/README.md")
    for path in ROOT.glob(pattern)
    if not INSTALLED.intersection(path.relative_to(ROOT).parts)
)
PLAIN = ["examples/go/hello/main.go", "examples/node/hello.js"]
LONGEST = 200

SENTENCE = re.compile(r"""[.!?…]["')*`»]*\s+(?=gRPC|grpc-go|nginx|[A-ZÁÉÍÓÚÑ¿¡`\["(*<_0-9])""")
NO_END = re.compile(r"(^|\s)(\d+|[A-Z]|e\.g|i\.e|etc)\.$")
"""A number of a list, an initial, an abbreviation."""

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def prose(document: Path) -> Iterator[tuple[int, str]]:
    """The lines of a document that are prose: no code, no tables, no headings, no HTML."""
    in_code = False
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code and not re.match(r"\s*[|#<]| {4,}\S", line):
            yield number, re.sub(r"^\s*(-|\d+\.)\s+", "", line)


def ends_in(line: str) -> list[str]:
    """The sentences that end in the middle of a line; what stands in backquotes is no prose."""
    plain = re.sub(r"`[^`]*`", "`x`", line)
    heads = [plain[: match.end()].strip() for match in SENTENCE.finditer(plain)]
    return [head for head in heads if not NO_END.search(head)]


@pytest.mark.parametrize("path", PLAIN)
def test_the_readme_shows_the_plain_clients(path: str) -> None:
    """As they are, and they are short."""
    text = (ROOT / path).read_text()
    assert f"\n{text}```\n" in (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 50


@documents
def test_links_lead_somewhere(document: Path) -> None:
    """To files that are there."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())
    for link in links:
        assert "://" in link or (document.parent / link).exists(), f"{document.name} links to {link}"


@documents
def test_a_line_holds_one_sentence(document: Path) -> None:
    """So that a diff shows which sentence changed."""
    wrong = [
        f"{document.name}:{number}: after {end[-40:]!r}" for number, line in prose(document) for end in ends_in(line)
    ]
    assert not wrong, "\n".join(wrong)


@documents
def test_a_sentence_ends_with_its_line(document: Path) -> None:
    """It is not broken over two lines either; a list or a block may follow its colon."""
    wrong = [
        f"{document.name}:{number}: {line[-40:]!r} goes on in the next line"
        for (number, line), (following, rest) in pairwise(prose(document))
        if following == number + 1 and re.match(r"\s*[a-zñáéíóú(]", rest) and line and line[-1] not in ".:;"
    ]
    assert not wrong, "\n".join(wrong)


@documents
def test_no_line_of_prose_is_long(document: Path) -> None:
    """A sentence that is longer is two sentences."""
    wrong = [f"{document.name}:{number}: {len(line)}" for number, line in prose(document) if len(line) > LONGEST]
    assert not wrong, "\n".join(wrong)


def test_the_rules_have_teeth() -> None:
    """What is meant is found, and what is no end of a sentence is not."""
    assert len(ends_in('It ends. So it begins. gRPC goes on (or "not"?). 14 k more.')) == 3
    assert not ends_in("It takes `a. B`, i.e. Nothing, 1.5 MB … and 2. Then")


def test_every_threat_names_tests_that_exist() -> None:
    """A threat that nothing shows to be held says to whom it is left."""
    model = ROOT / "docs" / "threat-model.md"
    named = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", model.read_text())
    assert len(named) > 20
    for name, path in named:
        assert f"def {name}(" in (model.parent / path).read_text(), f"{path} has no {name}"
    for line in model.read_text().splitlines():
        if re.match(r"\| [STRIDE] \|", line):
            assert "`test_" in line or "left to the operator" in line, line
