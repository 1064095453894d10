"""Which values of a configuration file mean a module: by key, by the form of a command, or because the name is sure."""

from __future__ import annotations

from collections.abc import Callable

from migrate.imports.text import argv, code, shell
from migrate.imports.text.nodes import Node
from migrate.imports.text.plan import NAME, Plan, components
from migrate.imports.text.view import cut
from migrate.imports.text.words import Word

KIND = "config"

# Keys whose value is a module, or something in one, if it has the form of an old name.
KEYS = frozenset(
    "_target_ _component_ class_path target class () module import callable factory entrypoint entry_point type cls "
    "func function handler model_class import_path wsgi_app app_module settings_module plugin _call_ attr".split()
) | frozenset(argv.VARIABLES)
# The same for the members of a list.
LIST_KEYS = KEYS | frozenset("imports modules targets classes plugins packages callbacks import_modules".split())
# Keys whose value is a module even when it is one word.
WHOLE = frozenset(("_target_", "_component_", "module", *argv.VARIABLES))
# Last parts that make a value the name of a file, which `target: a.yaml` may well mean.
_FILE_ENDINGS = frozenset("yaml yml json toml txt md csv cfg ini pt pth ckpt safetensors bin log py".split())
_PROGRAM_KEYS = ("entrypoint", "entry", "program", "runtimeExecutable", "executable", "command", "cmd")
_ARGUMENT_KEYS = ("args", "arguments", "argv", "command")

Rule = Callable[[Plan, tuple[str, ...], Node], bool]


def no_rule(plan: Plan, path: tuple[str, ...], node: Node) -> bool:
    """Leave every value to the general rules."""
    return False


class Walker:
    """Goes through a document once and rewrites the values that mean a module."""

    def __init__(self, plan: Plan, rule: Rule = no_rule) -> None:
        """Take the plan to fill.

        Args:
            plan: Where edits go.
            rule: Deals with a value whose place in the file says more; returns whether it did.
        """
        self.plan = plan
        self.rule = rule
        self._seen: set[int] = set()

    def walk(self, node: Node, path: tuple[str, ...] = ()) -> None:
        """Rewrite a node and everything below it."""
        if id(node) in self._seen:
            return
        self._seen.add(id(node))
        if node.tag is not None:
            self.plan.here(*node.tag, KIND)
        if self.rule(self.plan, path, node):
            return
        if node.kind == "map":
            self._mapping(node, path)
        elif node.kind == "seq":
            if not _command(self.plan, [node]):
                for item in node.items:
                    self.walk(item, path)
        elif node.kind == "str":
            self._string(node, path)

    def _mapping(self, node: Node, path: tuple[str, ...]) -> None:
        program = node.get(*_PROGRAM_KEYS)
        parts = [part for part in (program, node.get(*_ARGUMENT_KEYS)) if part is not None]
        if len(parts) == 2 and parts[0] is not parts[1] and _command(self.plan, parts):
            self._seen.update(map(id, parts))
        shell_name, run = node.get("shell"), node.get("run")
        if shell_name and run and run.view and shell_name.text.startswith("python"):
            code.python(self.plan, run.view)
            self._seen.add(id(run))
        for key, value in node.pairs:
            self.walk(value, (*path, key.text))

    def _string(self, node: Node, path: tuple[str, ...]) -> None:
        view = node.view
        if view is None or not self.plan.mentions(view.text):
            return
        if NAME.fullmatch(view.text):
            if self._is_reference(view.text, path[-1] if path else ""):
                self.plan.whole(view, KIND)
        elif "\n" in view.text.strip():
            if not code.block(self.plan, view):
                self.plan.nested(view, shell.rewrite)
        elif any(char in " \t=" for char in view.text):
            self.plan.nested(view, shell.rewrite)

    def _is_reference(self, name: str, key: str) -> bool:
        if components(name) == 1:
            return key in WHOLE
        if name.rpartition(".")[2] in _FILE_ENDINGS and name not in self.plan.ctx.moves.entries:
            return False
        return key in LIST_KEYS or is_sure(self.plan, name)


def is_sure(plan: Plan, name: str) -> bool:
    """Tell whether a whole string can only mean the class or function of that name."""
    renamed = plan.ctx.moves.rename(name)
    if renamed is None:
        return False
    target, tree = renamed[1], plan.ctx.tree
    if target.move.kind == "symbol":
        return True
    module, _, last = name.replace(":", ".").rpartition(".")
    if tree is None or not last[:1].isupper():
        return False
    new_module, _, new_last = target.dotted.rpartition(".")
    return bool(tree.has(module, last) or tree.has(new_module, new_last))


def _command(plan: Plan, nodes: list[Node]) -> bool:
    """Rewrite argument lists; tell whether it was one: ``["python", "-m", "a.b"]``."""
    words: list[Word] = []
    for node in nodes:
        parts = node.items if node.kind == "seq" else [node]
        for part in parts:
            if part.kind == "str" and part.view is not None:
                words += _words(part, split=node.kind == "str")
            elif part.kind != "other":
                return False
            else:
                words.append(Word(cut(plan.text, part.start, part.end)))
    options = [word.value for word in words]
    if len(options) < 2 or not any(option.startswith("-") for option in options):
        return False
    before = len(plan.claimed)
    argv.analyse(plan, words)
    for word in words:
        if any(char.isspace() for char in word.value) and not shell.is_claimed(plan, word, before):
            plan.nested(word.view, shell.rewrite)
    return len(plan.claimed) > before


def _words(node: Node, *, split: bool) -> list[Word]:
    """Return the words of a string; one that stands alone is split as a shell would."""
    assert node.view is not None
    if not split:
        return [Word(node.view, quoted=True)]
    return shell.words_of(node.view)
