"""Shell text to commands and words, each character with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from migrate.imports.text.view import LINE_BREAK, Builder, View, cut

_SPACE = " \t\f\v"
_BOUNDARY = ";&|()`"
_HEREDOC = re.compile(r"<<(?P<dash>-?)[ \t]*(?P<quote>['\"\\]?)(?P<word>\w+)['\"]?")
_PLAIN = re.compile(r"[\w.\-/=:,+@~\[\]{}]+")
_SIMPLE = re.compile(_PLAIN.pattern + r"(?=[\s;&|()<>`]|$)")
_END_OF_LINE = re.compile(r"(?<!\\)(?:\r\n|(?<!\r)\n|\r(?!\n))")
_MAKE_VARIABLE = re.compile(r"\$[({]\w+[)}]")


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command.

    Attributes:
        view: Its value: quotes and escapes taken out.
        quoted: Whether it is one quoted string as a whole.
        expands: Whether a variable or a command substitution is part of it.
    """

    view: View
    quoted: bool = False
    expands: bool = False

    @property
    def value(self) -> str:
        """The value."""
        return self.view.text


@dataclass(frozen=True, slots=True)
class Heredoc:
    """Lines given to a command.

    Attributes:
        start: Offset of the first line.
        end: Offset of the line that ends them.
        literal: Whether variables in them stay as they are.
    """

    start: int
    end: int
    literal: bool


@dataclass(slots=True)
class Command:
    """A simple command.

    Attributes:
        words: Its words, redirections included.
        heredocs: Its here-documents.
    """

    words: list[Word] = field(default_factory=list)
    heredocs: list[Heredoc] = field(default_factory=list)


def commands(text: str, *, bat: bool = False, by_line: bool = False) -> list[Command]:
    """Split shell text into commands.

    Lenient: what isn't shell (recipes, console output) yields words too, and an unbalanced quote is a character.

    Args:
        text: The text.
        bat: Use the rules of Windows batch files.
        by_line: A quoted string ends on its line or a continued one, as in Dockerfiles and recipes.
    """
    return _Splitter(text, bat, by_line).run()


class _Splitter:
    def __init__(self, text: str, bat: bool, by_line: bool) -> None:
        self.text = text
        self.bat = bat
        self.by_line = by_line
        self.at = 0
        self.found: list[Command] = []
        self.command = Command()
        self.waiting: list[tuple[Command, re.Match[str]]] = []

    def run(self) -> list[Command]:
        text, size = self.text, len(self.text)
        while self.at < size:
            char = text[self.at]
            if char in "\r\n":
                self._end_line()
            elif char in _SPACE:
                self.at += 1
            elif self._continuation():
                pass
            elif self._comment(char):
                self.at = self._line_end(self.at)
            elif char in _BOUNDARY:
                self._end_command()
                self.at += 1
            elif char in "<>":
                self._redirection()
            else:
                self._word()
        self._end_command()
        return self.found

    def _end_command(self) -> None:
        if self.command.words:
            self.found.append(self.command)
        self.command = Command()

    def _end_line(self) -> None:
        self._end_command()
        found = LINE_BREAK.match(self.text, self.at)
        self.at = found.end() if found else self.at + 1
        waiting, self.waiting = self.waiting, []
        for command, opening in waiting:
            self._heredoc(command, opening)

    def _heredoc(self, command: Command, opening: re.Match[str]) -> None:
        tabs = r"\t*" if opening["dash"] else ""
        end = re.compile(rf"^[ ]*{tabs}{opening['word']}[ \t]*$", re.MULTILINE).search(
            self.text.replace("\r", "\n"), self.at
        )
        if end is None:
            return
        command.heredocs.append(Heredoc(self.at, end.start(), bool(opening["quote"])))
        self.at = end.end()

    def _continuation(self) -> bool:
        if self.text[self.at] != ("^" if self.bat else "\\"):
            return False
        found = LINE_BREAK.match(self.text, self.at + 1)
        if found is not None:
            self.at = found.end()
        return found is not None

    def _comment(self, char: str) -> bool:
        if not self.bat:
            return char == "#"
        at_start = not self.command.words
        return at_start and (self.text.startswith("::", self.at) or self.text[self.at : self.at + 4].lower() == "rem ")

    def _line_end(self, at: int) -> int:
        found = LINE_BREAK.search(self.text, at)
        return found.start() if found else len(self.text)

    def _redirection(self) -> None:
        heredoc = None if self.bat else _HEREDOC.match(self.text, self.at)
        if heredoc is not None and not self.text.startswith("<<<", self.at):
            self.waiting.append((self.command, heredoc))
            self.at = heredoc.end()
            return
        while self.at < len(self.text) and self.text[self.at] in "<>&":
            self.at += 1

    def _word(self) -> None:
        text, begin = self.text, self.at
        simple = _SIMPLE.match(text, begin)
        if simple is not None:
            self.at = simple.end()
            self.command.words.append(Word(cut(text, begin, self.at)))
            return
        builder, expands, quotes = Builder(), False, 0
        while self.at < len(text):
            char = text[self.at]
            plain = _PLAIN.match(text, self.at)
            if plain is not None:
                builder.raw(text, *plain.span())
                self.at = plain.end()
                continue
            if char in _SPACE or char in "\r\n<>" or char in _BOUNDARY:
                break
            closing = self._closing(begin) if char in "'\"" else -1
            if closing >= 0:
                expands |= self._quoted(builder, char, closing)
                quotes += 1
            elif char == "\\" and not self.bat:
                if LINE_BREAK.match(text, self.at + 1):
                    break
                builder.decoded(text[self.at + 1 : self.at + 2], self.at, min(self.at + 2, len(text)))
                self.at += 2
            elif not self._variable(builder):
                expands |= char in ("%" if self.bat else "$")
                builder.raw(text, self.at, self.at + 1)
                self.at += 1
            else:
                expands = True
        whole = quotes == 1 and text[begin] in "'\"" and text[self.at - 1] == text[begin]
        self.command.words.append(Word(builder.view(), whole, expands))

    def _variable(self, builder: Builder) -> bool:
        """Take ``$(PYTHON)`` or ``${PYTHON}`` as part of a word."""
        found = _MAKE_VARIABLE.match(self.text, self.at)
        if found is None:
            return False
        builder.raw(self.text, *found.span())
        self.at = found.end()
        return True

    def _closing(self, begin: int) -> int:
        """Return the offset of the quote that closes the one here; -1 when this is a mere character."""
        text, quote = self.text, self.text[self.at]
        if self.bat and quote == "'":
            return -1
        at = self.at + 1
        while at < len(text) and text[at] != quote:
            at += 2 if text[at] == "\\" and quote == '"' and not self.bat else 1
        if at >= len(text):
            return -1
        inside_word = self.at > begin and (text[self.at - 1].isalnum() or text[self.at - 1] == "_")
        apostrophe = quote == "'" and inside_word
        if (apostrophe or self.bat) and LINE_BREAK.search(text, self.at, at):
            return -1
        if self.by_line and _END_OF_LINE.search(text, self.at, at):
            return -1
        return at

    def _quoted(self, builder: Builder, quote: str, closing: int) -> bool:
        text, at = self.text, self.at + 1
        expands = False
        while at < closing:
            char, following = text[at], text[at + 1]
            if char == "\\" and quote == '"' and following in '\\"$`' and not self.bat:
                builder.decoded(following, at, at + 2)
                at += 2
            elif char == "\\" and quote == '"' and (found := LINE_BREAK.match(text, at + 1)) and not self.bat:
                at = found.end()
            else:
                expands |= quote == '"' and char in ("%" if self.bat else "$`")
                builder.raw(text, at, at + 1)
                at += 1
        self.at = closing + 1
        return expands
