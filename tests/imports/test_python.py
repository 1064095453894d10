"""Python code before and after: one row a form, and as many rows that must not change."""

from __future__ import annotations

import textwrap

import pytest

from migrate import moves_file
from migrate.edits import apply
from migrate.imports.context import Context
from migrate.imports.python import rewrite

MOVES = moves_file.parse(
    """
    version: 1
    moves:
      - {old: src.bem2, new: bem2, kind: module}
      - {old: src.bem, new: bem_legacy, kind: module}
      - {old: bem, new: bem_legacy, kind: module}
      - {old: bem2.router.training.TrainingConfig, new: "bem_core.config:TrainingConfig"}
      - {old: bem2.router.training.OldName, new: "bem2.router.training:NewName"}
      - {old: bem2.router.training.helper, new: "bem_core.tools:Tools.helper"}
      - {old: bem2.router.training.BCTrainer, new: "bem2.router.unified:RouterTrainer", shim_only: takes a config}
      - {old: bem2.router.training.gone, removed: use torch.compile}
      - {old: bem2.loops, new: training.loops, kind: module}
      - {old: flat, new: pkg.flat, kind: module}
      - {old: pkg.deep.one, new: single, kind: module}
      - {old: "pkg.both", split: {pkg.left: [f, F], pkg.right: [g]}}
    """,
    "moves.yaml",
)
MODULES = ("bem2.router.agentic", "src.bem2.router.agentic")


def codes(before: str, modules: tuple[str, ...] = MODULES, is_package: bool = False) -> tuple[str, list[str]]:
    """Rewrite, check what holds for every rewrite, and return the text with the codes of the findings."""
    ctx = Context("file.py", MOVES, None, modules, is_package)
    result = rewrite(before, ctx)
    after = apply(before, result.edits)
    if not any(finding.code == "BM108" for finding in result.findings):
        compile(after, "after", "exec", dont_inherit=True)
    assert rewrite(after, ctx).edits == [], "rewriting twice changes something"
    return after, [f"{finding.line}:{finding.code}" for finding in result.findings]


def rows(text: str) -> list[object]:
    """Read ``# id`` / before / ``->`` / after blocks; without an arrow nothing may change."""
    cases = []
    for block in textwrap.dedent(text).strip("\n").split("\n\n\n"):
        name, _, body = block.partition("\n")
        before, arrow, after = body.partition("\n->\n")
        cases.append(pytest.param(f"{before}\n", f"{after if arrow else before}\n", id=name.removeprefix("## ")))
    return cases


CHANGED = rows("""
## from import
from bem.models import Model
->
from bem_legacy.models import Model


## from import of the package itself
from bem import Model, models
->
from bem_legacy import Model, models


## alias stays
from bem.models import Model as M, other
->
from bem_legacy.models import Model as M, other


## relative names below src
from src.bem2.router.policy import Policy
->
from bem2.router.policy import Policy


## chain of two moves
from src.bem2.router.training import TrainingConfig
->
from bem_core.config import TrainingConfig


## renamed symbol keeps its bound name
from bem2.router.training import OldName
OldName()
->
from bem2.router.training import NewName as OldName
OldName()


## renamed symbol with an alias
from bem2.router.training import OldName as N
->
from bem2.router.training import NewName as N


## renamed symbol whose alias is the new name
from bem2.router.training import OldName as NewName
->
from bem2.router.training import NewName


## one statement, several modules
from bem2.router.training import TrainingConfig, Policy, OldName as O
->
from bem_core.config import TrainingConfig
from bem2.router.training import Policy, NewName as O


## parenthesised list with comments
from bem2.router.training import (  # all of it
    # the settings
    TrainingConfig,  # moved
    Policy,  # stays
)
->
from bem_core.config import (  # all of it
    # the settings
    TrainingConfig,  # moved
)
from bem2.router.training import (
    Policy,  # stays
)


## pragma comment goes along
from bem2.router.training import TrainingConfig, Policy  # noqa: F401
->
from bem_core.config import TrainingConfig  # noqa: F401
from bem2.router.training import Policy  # noqa: F401


## other comment stays once
from bem2.router.training import TrainingConfig, Policy  # both
->
from bem_core.config import TrainingConfig
from bem2.router.training import Policy  # both


## function became a method
from bem2.router.training import helper
helper(1)
->
from bem_core.tools import Tools
helper = Tools.helper
helper(1)


## function became a method, and its class name is taken
from bem2.router.training import helper
Tools = 1
->
from bem_core.tools import Tools as _Tools
helper = _Tools.helper
Tools = 1


## one module split into two
from pkg.both import f, g, F
->
from pkg.left import f, F
from pkg.right import g


## module to the top level
from pkg.deep import one
one.run()
->
import single as one
one.run()


## module to the top level out of a list with comments
from pkg.deep import (  # why
    one,  # which
)
->
# why
# which
import single as one


## module from the top level
import flat
flat.run()
->
import pkg.flat as flat
flat.run()


## plain import keeps its name
import bem
bem.models.run(bem)
->
import bem_legacy as bem
bem.models.run(bem)


## aliased import
import bem.models as m
m.run()
->
import bem_legacy.models as m
m.run()


## dotted import and its chains
import bem.models.deep
bem.models.deep.run(bem.models.x)
->
import bem_legacy.models.deep
bem_legacy.models.deep.run(bem_legacy.models.x)


## several in one import
import os, bem.models, bem.x as x, sys
bem.models.run()
->
import os, bem_legacy.models, bem_legacy.x as x, sys
bem_legacy.models.run()


## unmoved neighbours of a moved module stay reachable
import bem2.loops
bem2.loops.run(bem2.router.x)
->
import bem2, training.loops
training.loops.run(bem2.router.x)


## another import covers the unmoved neighbours
import bem2.loops
import bem2.router
bem2.loops.run(bem2.router.x)
->
import training.loops
import bem2.router
training.loops.run(bem2.router.x)


## symbol reached through a module alias
import bem2.router.training as t
t.run(t.TrainingConfig)
->
import bem2.router.training as t
import bem_core.config
t.run(bem_core.config.TrainingConfig)


## symbol reached through a dotted import
import bem2.router.training
bem2.router.training.TrainingConfig()
bem2.router.training.run()
->
import bem2.router.training
import bem_core.config
bem_core.config.TrainingConfig()
bem2.router.training.run()


## symbol reached through an imported module
from bem2.router import training
x = training.TrainingConfig
->
from bem2.router import training
import bem_core.config
x = bem_core.config.TrainingConfig


## symbol reached by getattr
import bem2.router.training as t
getattr(t, "OldName")
->
import bem2.router.training as t
getattr(t, "NewName")


## patch.object
from unittest import mock
from bem2.router import training
mock.patch.object(training, "TrainingConfig", 1)
->
from unittest import mock
from bem2.router import training
import bem_core.config
mock.patch.object(bem_core.config, "TrainingConfig", 1)


## new root is taken by a local variable
import bem2.loops
def f(training):
    return bem2.loops.run(training)
->
import training.loops as training_loops
def f(training):
    return training_loops.run(training)


## new root is taken by a module variable
training = 1
import bem2.loops
bem2.loops.run(training)
->
training = 1
import training.loops as training_loops
training_loops.run(training)


## function-local import
def f():
    from bem.models import Model
    import bem.other
    return Model, bem.other.x
->
def f():
    from bem_legacy.models import Model
    import bem_legacy.other
    return Model, bem_legacy.other.x


## guarded import
try:
    from bem.kernels import fast
except ImportError:
    fast = None
->
try:
    from bem_legacy.kernels import fast
except ImportError:
    fast = None


## guarded dotted import keeps the name that the guard binds
try:
    import bem.kernels
except ImportError:
    bem = None
if bem is not None:
    bem.kernels.run()
->
try:
    import bem_legacy.kernels, bem_legacy as bem
except ImportError:
    bem = None
if bem is not None:
    bem.kernels.run()


## TYPE_CHECKING
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from bem.models import Model
def f(m: "Model") -> "Model": ...
->
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from bem_legacy.models import Model
def f(m: "Model") -> "Model": ...


## string annotation
import bem.models
x: "bem.models.Model" = None
def f(a: "list[bem.models.Model]") -> 'bem.models.Model': ...
->
import bem_legacy.models
x: "bem_legacy.models.Model" = None
def f(a: "list[bem_legacy.models.Model]") -> 'bem_legacy.models.Model': ...


## cast and bound
import typing, bem.models
T = typing.TypeVar("T", bound="bem.models.Model")
y = typing.cast("bem.models.Model", 1)
->
import typing, bem_legacy.models
T = typing.TypeVar("T", bound="bem_legacy.models.Model")
y = typing.cast("bem_legacy.models.Model", 1)


## f-string
import bem.models
s = f"{bem.models.x} and {bem.models.y!r:>{bem.models.width}}"
->
import bem_legacy.models
s = f"{bem_legacy.models.x} and {bem_legacy.models.y!r:>{bem_legacy.models.width}}"


## class body, decorator and default
import bem.models
@bem.models.register(bem.models.key)
class C(bem.models.Base, metaclass=bem.models.Meta):
    x = bem.models.x
    def f(self, y=bem.models.y): return bem.models.z
->
import bem_legacy.models
@bem_legacy.models.register(bem_legacy.models.key)
class C(bem_legacy.models.Base, metaclass=bem_legacy.models.Meta):
    x = bem_legacy.models.x
    def f(self, y=bem_legacy.models.y): return bem_legacy.models.z


## chain over lines
import bem.models
x = (bem
     .models
     .run())
->
import bem_legacy.models
x = (bem_legacy
     .models
     .run())


## relative import of a neighbour that lost a symbol
from .training import TrainingConfig, Policy
->
from bem_core.config import TrainingConfig
from .training import Policy


## relative import that climbs to the root of src
from ...bem.trust_region import TrustRegion
->
from bem_legacy.trust_region import TrustRegion


## relative renamed symbol
from .training import OldName
->
from .training import NewName as OldName


## relative import of a moved sibling package
from ..loops import run
->
from training.loops import run


## star import follows its module
from bem.models import *
->
from bem_legacy.models import *


## semicolons and one-line suites
if 1: import bem.models; bem.models.run()
->
if 1: import bem_legacy.models; bem_legacy.models.run()


## split behind a semicolon
x = 1; from pkg.both import f, g; y = 2
->
x = 1; from pkg.left import f; from pkg.right import g; y = 2


## backslash and odd spacing
from   bem . models \\
    import  Model
->
from   bem_legacy.models \\
    import  Model


## no space after from
from.training import OldName
->
from.training import NewName as OldName


## import_module and friends
import importlib, importlib.util, runpy, pkgutil, pytest
importlib.import_module("bem.models")
importlib.import_module(".x", package="bem.models")
importlib.util.find_spec('bem.models')
__import__("bem.models")
runpy.run_module("bem.train")
pkgutil.resolve_name("bem.models:Model")
pytest.importorskip("bem.kernels")
->
import importlib, importlib.util, runpy, pkgutil, pytest
importlib.import_module("bem_legacy.models")
importlib.import_module(".x", package="bem_legacy.models")
importlib.util.find_spec('bem_legacy.models')
__import__("bem_legacy.models")
runpy.run_module("bem_legacy.train")
pkgutil.resolve_name("bem_legacy.models:Model")
pytest.importorskip("bem_legacy.kernels")


## import_module under another name
from importlib import import_module as load
load("bem.models")  # bem.models
->
from importlib import import_module as load
load("bem_legacy.models")  # bem.models


## mock.patch as decorator, context manager and fixture
from unittest.mock import patch
@patch("src.bem2.router.unified.Router")
def test(mocker, monkeypatch):
    with patch("bem2.router.training.TrainingConfig"): ...
    mocker.patch("bem.models.Model")
    monkeypatch.setattr("bem.models.Model", 1)
    patch.dict("sys.modules", {"bem.models": None})
->
from unittest.mock import patch
@patch("bem2.router.unified.Router")
def test(mocker, monkeypatch):
    with patch("bem_core.config.TrainingConfig"): ...
    mocker.patch("bem_legacy.models.Model")
    monkeypatch.setattr("bem_legacy.models.Model", 1)
    patch.dict("sys.modules", {"bem_legacy.models": None})


## sys.modules
import sys
sys.modules["bem.models"] = sys.modules.get("bem.x")
"bem.models" in sys.modules
->
import sys
sys.modules["bem_legacy.models"] = sys.modules.get("bem_legacy.x")
"bem_legacy.models" in sys.modules


## argument lists with -m
run(["python", "-m", "bem.train", "--x", "1"])
->
run(["python", "-m", "bem_legacy.train", "--x", "1"])


## class paths in dicts
cfg = {"_target_": "bem.models.Model", "name": "bem"}
->
cfg = {"_target_": "bem_legacy.models.Model", "name": "bem"}


## examples in docstrings
def f():
    '''Do it.

    >>> from pkg import deep
    >>> from pkg.deep import one as o
    >>> o.run(deep)

    Usage::

        from bem import models
        python -m bem.train --x
    '''
->
def f():
    '''Do it.

    >>> from pkg import deep
    >>> import single as o
    >>> o.run(deep)

    Usage::

        from bem_legacy import models
        python -m bem_legacy.train --x
    '''


## class docstring without any other reference
class C:
    '''Call it.

    >>> from bem2 import loops
    >>> loops.run()
    '''
->
class C:
    '''Call it.

    >>> from training import loops
    >>> loops.run()
    '''


## setup()
from setuptools import setup
setup(name="bem", packages=["bem", "bem.models"],
      entry_points={"gui_scripts": ["bem = bem.cli:main"]})
->
from setuptools import setup
setup(name="bem", packages=["bem_legacy", "bem_legacy.models"],
      entry_points={"gui_scripts": ["bem = bem_legacy.cli:main"]})


## pytest plugins
pytest_plugins = ["bem.testing", "other"]
->
pytest_plugins = ["bem_legacy.testing", "other"]
""")


@pytest.mark.parametrize(("before", "after"), CHANGED)
def test_changed(before: str, after: str) -> None:
    assert codes(before)[0] == after


UNCHANGED = rows("""
## a message is no module
run(["git", "commit", "-m", "bem.models"])


## names that only look alike
import bem2
from bembo import x
import mybem.bem
from bem2_tools import bem


## local variable with the name of a module
def f(bem):
    bem.models.run()
    return [bem.x for bem in bem]


## keyword and attribute
f(bem=1)
x.bem.models = 2
x.bem2.router.training.TrainingConfig


## strings that mean something else
register("bem2", name="bem")
project = "bem2-safety-training"
image = "bem:latest"
path = "bem.py"
url = "https://example.org/bem/models"
mail = "me@bem.models"


## relative imports that move along with their package
from . import policy
from .policy import Policy
from ..security.protection import Guard


## already new
import bem_legacy
import bem2.router
from bem_core.config import TrainingConfig


## loop variable hides an import
for bem in range(3):
    bem.models


## class attribute is not seen in methods
class C:
    bem = 1
    def f(self): return self.bem.models


## logger names are left alone by default
import logging
logging.getLogger("bem.models")


## Literal is no annotation of a type
from typing import Literal
x: Literal["bem.models"] = 1


## bytes and byte formatting
x = b"bem.models"
""")


@pytest.mark.parametrize(("before", "after"), UNCHANGED)
def test_unchanged(before: str, after: str) -> None:
    assert codes(before)[0] == after


@pytest.mark.parametrize(
    ("before", "found"),
    [
        pytest.param("from bem2.router.training import BCTrainer\n", ["1:BM107"], id="arguments changed"),
        pytest.param("from bem2.router.training import gone\n", ["1:BM106"], id="removed"),
        pytest.param("import bem2.router.training as t\nt.gone()\n", ["2:BM106"], id="removed, through an alias"),
        pytest.param("from bem2.router.training import *\nTrainingConfig\n", ["1:BM101"], id="star hides a moved name"),
        pytest.param("from bem2.router.training import *\nx\n", [], id="star without a moved name"),
        pytest.param(
            "import bem\nimport importlib\nimportlib.import_module(name)\n", ["3:BM102"], id="computed import"
        ),
        pytest.param('__import__(f"bem.{x}")\n', ["1:BM102"], id="f-string import"),
        pytest.param('import importlib\nimportlib.import_module("json")\n', [], id="literal import"),
        pytest.param('__import__\nimportlib.import_module(".x", "bem")\n', [], id="relative name in a moved package"),
        pytest.param(
            'import importlib\nimportlib.import_module(".loops", "bem2")\n', ["2:BM102"], id="relative, moved"
        ),
        pytest.param('import importlib, bem\nimportlib.import_module(".x", __package__)\n', ["2:BM102"], id="relative"),
        pytest.param("import bem2.router.training as t\nuse(t)\n", ["2:BM103"], id="module passed on"),
        pytest.param("import bem\nuse(bem)\n", [], id="module passed on, all of it moved"),
        pytest.param("import bem2\nuse(bem2)\n", [], id="package passed on, deeper names moved"),
        pytest.param("from .... import x\n", ["1:BM111"], id="too deep under every root"),
        pytest.param("# see bem2.router.training.TrainingConfig\n", ["1:BM105"], id="comment"),
        pytest.param('x = "bem2.router.training.TrainingConfig"\n', ["1:BM105"], id="string of unknown use"),
        pytest.param('x = {"bem2/loops.py": 1}\n', ["1:BM112"], id="path of a module as a key"),
        pytest.param("# see bem2/loops.py\n", ["1:BM112"], id="path of a module in a comment"),
        pytest.param("x = bem2/loops\n", [], id="a division is no path"),
        pytest.param('import bem.x\ns = f"a {bem.x.y}"\n', [], id="code in an f-string"),
        pytest.param('import bem2.loops\ns = f"bem2.loops.z {bem2.loops.y}"\n', ["2:BM105"], id="text in an f-string"),
        pytest.param("print 'bem'\n", ["1:BM108"], id="Python 2"),
        pytest.param("if x:\n    import bem2.loops\nelse:\n    bem2 = 1\nbem2.loops\n", ["5:BM110"], id="twice"),
        pytest.param("import pkg.both as b\nb.other\n", ["1:BM106", "2:BM106"], id="name left over by a split"),
    ],
)
def test_findings(before: str, found: list[str]) -> None:
    assert codes(before)[1] == found


def test_logger_names_on_request() -> None:
    text = 'import logging\nlogging.getLogger("bem.models")\n'
    ctx = Context("file.py", MOVES, None, (), logger_names=True)
    assert apply(text, rewrite(text, ctx).edits) == text.replace("bem.models", "bem_legacy.models")


def test_package_front_reads_relative_names_from_itself() -> None:
    before = "from .training import TrainingConfig\nfrom . import training\n"
    after, _ = codes(before, ("bem2.router", "src.bem2.router"), is_package=True)
    assert after == "from bem_core.config import TrainingConfig\nfrom . import training\n"


def test_changed_relative_import_of_a_moving_file_holds_before_and_after_the_move() -> None:
    moves = moves_file.parse("version: 1\nmoves: [{old: pa.sub, new: pb.x, kind: module}]\n", "moves.yaml")
    ctx = Context("pa/sub/user.py", moves, None, ("pa.sub.user",))
    before = "from .. import sub\nfrom . import other\n"
    assert apply(before, rewrite(before, ctx).edits) == "from pb import x as sub\nfrom . import other\n"


def test_new_home_does_not_import_from_itself() -> None:
    before = "from bem2.router.training import TrainingConfig\n"
    after, found = codes(before, ("bem_core.config",))
    assert after == before
    assert found == ["1:BM110"]


def test_ambiguous_relative_import_is_reported() -> None:
    moves = moves_file.parse("{a.b.x: one.x, b.x: two.x}", "moves.yaml")
    result = rewrite("from .x import f\n", Context("file.py", moves, None, ("b.m", "a.b.m")))
    assert [finding.code for finding in result.findings] == ["BM109"]
    assert result.edits == []
