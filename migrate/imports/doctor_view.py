"""One screen for a `DoctorReport`."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from migrate.imports.doctor import DoctorReport, Exclusive, Unresolved

_ROWS = 15
_PACKAGES = 6
_PATH_CHARS = 40


def render(report: DoctorReport, console: Console, *, all_rows: bool = False) -> None:
    """Print totals, the roots, what is missing most, and the first unresolved imports (all, with ``all_rows``)."""
    console.print(_headline(report), highlight=False)
    console.print(_roots(report))
    for pair in report.exclusive:
        console.print(_exclusive(pair), highlight=False, no_wrap=True, overflow="ellipsis")
    if report.unresolved:
        if report.missing():
            console.print(_missing(report, None if all_rows else _PACKAGES))
        console.print(_imports(report, None if all_rows else _ROWS))
    for line in _notes(report, all_rows):
        console.print(Text(line), highlight=False)


def _headline(report: DoctorReport) -> Text:
    if not report.unresolved:
        return Text(
            f"{_count(report.imports, 'import')} in {_count(report.files, 'file')}: all resolve under some root", "bold"
        )
    text = Text()
    text.append(
        f"{len(report.unresolved):,} of {_count(report.imports, 'import')} in {_count(report.files, 'file')}", "bold"
    )
    text.append(" resolve to nothing, ")
    text.append(f"{report.missing_package:,} of them into packages that do not exist, {report.guarded:,} guarded; ")
    text.append(f"{report.after:,} after the moves", "bold")
    return text


def _table(title: str, *columns: str, right: int = 0) -> Table:
    """Return a table whose first column is text, and the ``right`` ones after it numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, title_style="bold")
    for index, column in enumerate(columns):
        number = 0 < index <= right
        least = None if index else 12
        table.add_column(
            column, justify="right" if number else "left", no_wrap=number, overflow="fold", min_width=least
        )
    return table


def _roots(report: DoctorReport) -> Table:
    columns = ("root", "imports", "unresolved", "no such package", "other root", "after moves")
    table = _table("Import roots, each by itself", *columns, right=5)
    for root in report.roots:
        numbers = (root.imports, root.unresolved, root.missing_package, root.elsewhere, root.after)
        table.add_row(Text(root.root), *(f"{number:,}" for number in numbers))
    return table


def _exclusive(pair: Exclusive) -> Text:
    text = Text()
    text.append(f"{pair.first} and {pair.second} exclude each other", "bold red")
    text.append("; still so after the moves\n" if pair.after else "; not after the moves\n")
    text.append(f"  {pair.only_first:,} only under {pair.first}, such as {pair.example_first}\n")
    text.append(f"  {pair.only_second:,} only under {pair.second}, such as {pair.example_second}\n")
    return text


def _missing(report: DoctorReport, limit: int | None) -> Table:
    missing = report.missing()
    table = _table(_title("Missing modules and packages", len(missing), limit), "name", "imports", "first", right=1)
    for name, count, item in missing[:limit]:
        table.add_row(Text(name), f"{count:,}", Text(_short(f"{item.path}:{item.line}", limit)))
    return table


def _imports(report: DoctorReport, limit: int | None) -> Table:
    title = _title("Unresolved imports", len(report.unresolved), limit)
    table = _table(title, "where", "import", "reason", "after the moves")
    for column in table.columns:
        column.no_wrap, column.overflow, column.max_width = True, "ellipsis", limit and 36
    table.columns[1].min_width = 24
    for item in report.unresolved[:limit]:
        table.add_row(
            Text(_short(f"{item.path}:{item.line}", limit)), Text(item.spelling.split()[1]), _reason(item), _after(item)
        )
    return table


def _short(place: str, limit: int | None) -> str:
    """Keep the end of a path, which tells more."""
    parts = place.split("/")
    return place if limit is None or len(place) <= _PATH_CHARS or len(parts) <= 3 else "/".join(["…", *parts[-2:]])


def _reason(item: Unresolved) -> Text:
    what = {"name": "no name", "depth": "too many dots", "outside": "not in a package"}.get(item.reason, "no")
    missing = "" if item.reason in {"depth", "outside"} else f" {item.missing.rpartition(':')[2]}"
    return Text(f"{'guarded: ' if item.guarded else ''}{what}{missing}")


def _after(item: Unresolved) -> Text:
    if item.note:
        return Text(item.note, "yellow")
    if item.after:
        return Text("still unresolved", "red")
    return Text(item.becomes.removeprefix("from ").partition(" import ")[0] or "resolves", "green")


def _title(what: str, count: int, limit: int | None) -> str:
    return what if limit is None or count <= limit else f"{what}: the first {limit} of {count:,}"


def _notes(report: DoctorReport, all_rows: bool) -> list[str]:
    lines = []
    if report.optional:
        lines.append(
            f"{_count(len(report.optional), 'guarded import')} of packages that are neither declared nor installed."
        )
    if report.unparsed:
        shown = report.unparsed if all_rows else report.unparsed[:3]
        more = len(report.unparsed) - len(shown)
        lines.append(
            f"{_count(len(report.unparsed), 'file')} not parsed: {', '.join(shown)}{f', {more:,} more' if more else ''}"
        )
    if not all_rows and len(report.unresolved) > _ROWS:
        lines.append("--all shows every row, --format json every detail.")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
