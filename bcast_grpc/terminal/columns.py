"""The columns of the interactive program: time, author, a bar, text.

Text stays to the right of the bar, whatever it contains and however long it is, so none of its lines can look like
another author's message. A notice has no author and no bar::

    14:03            ana │ hola
    14:03       «4f1c22» │ bob: a text of somebody without a name
                         │ and its second line
    14:04                * eva joined
    14:04            bob ┃ what I said myself
    dev              bob ┃ what I am typing
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from prompt_toolkit.utils import get_cwidth

from bcast_grpc.console.safe_text import shown, shown_author, shown_lines
from bcast_grpc.events import Event
from bcast_grpc.terminal.lines import ALARM, BOLD, DIM, clock, name_style, paint

_BAR = "│"
_MY_BAR = "┃"
_TIME_CELLS = 5
_AUTHOR_CELLS = 14
_LEAST_TEXT_CELLS = 8

# Terminals that reorder Hebrew and Arabic would swap a name, the bar and a text that are all written right to left.
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
_LEFT_TO_RIGHT = "\u200e"

_EMOJI_SELECTOR = "\ufe0f"


@dataclass(frozen=True, slots=True)
class Columns:
    """Lays things out for a terminal of ``width`` cells; every line ends with a line break."""

    width: int
    colour: bool

    def message(self, event: Event) -> str:
        """A message of somebody else."""
        text = event.text or f"({len(event.data)} bytes of data)"
        return self._said(event.sender, event.session, text, clock(event.time_ns), _BAR)

    def mine(self, name: str, session: str, text: str, time_ns: int) -> str:
        """A message of our own."""
        return self._said(name, session, text, clock(time_ns), _MY_BAR)

    def notice(self, text: str, time_ns: int) -> str:
        """A notice; ``text`` must be safe to show already."""
        return self._remark(text, time_ns, "*", DIM)

    def alarm(self, text: str, time_ns: int) -> str:
        """An error; ``text`` must be safe to show already."""
        return self._remark(text, time_ns, "!", ALARM)

    def prompt(self, room: str, name: str, session: str) -> str:
        """What stands before the line that is being typed, as wide as what stands before the text of a message."""
        author = fit(shown_author(name, session), self._author_cells)
        place = fit(shown(room), _TIME_CELLS + self._author_cells - cells(author))
        gap = " " * (1 + _TIME_CELLS + self._author_cells - cells(place) - cells(author))
        style = name_style(name) if name else DIM
        return f"{paint(place, DIM, self.colour)}{gap}{paint(author, style, self.colour)} {self._bar(_MY_BAR)} "

    def continuation(self) -> str:
        """What stands before the further lines of a text that is being typed."""
        return f"{self._blank} {self._bar(_MY_BAR)} "

    @property
    def _author_cells(self) -> int:
        return min(_AUTHOR_CELLS, self.width // 5)

    @property
    def _text_cells(self) -> int:
        # One cell stays free: terminals do not agree about the width of every character.
        return max(_LEAST_TEXT_CELLS, self.width - len(self._blank) - len(f" {_BAR} ") - 1)

    @property
    def _blank(self) -> str:
        return " " * (_TIME_CELLS + 1 + self._author_cells)

    def _bar(self, bar: str) -> str:
        return paint(bar, BOLD if bar == _MY_BAR else DIM, self.colour)

    def _said(self, name: str, session: str, text: str, at: str, bar: str) -> str:
        author = fit(shown_author(name, session), self._author_cells)
        pad = " " * (1 + self._author_cells - cells(author))
        style = name_style(name) if name else DIM
        first = f"{paint(at, DIM, self.colour)}{pad}{paint(author, style, self.colour)}"
        guard = _LEFT_TO_RIGHT if _RIGHT_TO_LEFT.search(author) or _RIGHT_TO_LEFT.search(text) else ""
        marked = f" {guard}{self._bar(bar)}{guard} "
        lines = [part for line in shown_lines(text) for part in wrap(line, self._text_cells)]
        return f"{first}{marked}" + f"\n{self._blank}{marked}".join(lines) + "\n"

    def _remark(self, text: str, time_ns: int, mark: str, style: str) -> str:
        lines = wrap(text, self._text_cells)
        first = f"{clock(time_ns)}{self._blank[_TIME_CELLS:]} {mark} {lines[0]}"
        rest = (f"{self._blank}   {line}" for line in lines[1:])
        return "".join(f"{paint(line, style, self.colour)}\n" for line in (first, *rest))


def cells(text: str) -> int:
    """How many cells a text takes on a terminal at most: a selector that may widen an emoji counts."""
    # One character at a time: prompt_toolkit would keep a longer string in its cache.
    return sum(map(get_cwidth, text)) + text.count(_EMOJI_SELECTOR)


def fit(word: str, most: int) -> str:
    """Shorten a word to at most ``most`` cells, keeping both its ends."""
    if cells(word) <= most:
        return word
    tail = (most - 1) // 3
    ending = word[len(word) - tail :]
    while ending and cells(ending) > tail:
        ending = ending[1:]
    beginning = word[:most]
    while beginning and cells(beginning) + 1 + cells(ending) > most:
        beginning = beginning[:-1]
    return f"{beginning}…{ending}"


def wrap(text: str, most: int) -> list[str]:
    """Cut a line into lines of at most ``most`` cells, at a space where there is one."""
    if len(text) <= most and text.isascii():
        return [text]
    lines = []
    start = used = 0
    space = -1
    for at, character in enumerate(text):
        used += cells(character)
        if used > most and at > start:
            cut = space if space > start and character != " " else at
            lines.append(text[start:cut])
            start = cut + 1 if text[cut] == " " else cut
            used = cells(text[start : at + 1])
        if character == " ":
            space = at
    return [*lines, text[start:]]
