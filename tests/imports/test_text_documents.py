"""Markdown, reStructuredText and docstrings, before and after."""

# ruff: noqa: E501 -- one row a case

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate import moves_file
from migrate.edits import apply
from migrate.imports.context import Context
from migrate.imports.text import docstring, markdown, rst

MOVES = moves_file.parse(
    """
    version: 1
    moves:
      - {old: src.bem2, new: bem2, kind: module}
      - {old: bem, new: bem_legacy, kind: module}
      - {old: bem2.Config, new: "bem_core.config:Config", kind: symbol}
      - {old: bem2.gone, removed: use torch.compile}
    """,
    "moves.yaml",
)
REWRITERS = {"md": markdown.rewrite, "rst": rst.rewrite, "docstring": docstring.rewrite}


def check(kind: str, before: str) -> tuple[str, list[str]]:
    """Rewrite twice; return the new text and the findings of the first time."""
    ctx = Context("file", MOVES)
    result = REWRITERS[kind](before, ctx)
    after = apply(before, result.edits)
    assert REWRITERS[kind](after, ctx).edits == []
    return after, [f"{finding.line}:{finding.column} {finding.code}" for finding in result.findings]


def rows(text: str) -> list[object]:
    """Read blocks of ``## kind: id``, before, ``->``, after, with blocks two empty lines apart."""
    cases = []
    for block in textwrap.dedent(text).strip("\n").split("\n\n\n"):
        name, _, body = block.partition("\n")
        kind, _, case = name.removeprefix("## ").partition(": ")
        before, _, after = body.partition("\n->\n")
        cases.append(pytest.param(kind, f"{before}\n", f"{after}\n", id=f"{kind}-{case}"))
    return cases


CHANGED = rows("""
## md: python
```python
from bem.x import y  # keep
```
->
```python
from bem_legacy.x import y  # keep
```


## md: names used in the same fence
~~~~py title="a.py"
import bem.x
bem.x.f()
~~~~
->
~~~~py title="a.py"
import bem_legacy.x
bem_legacy.x.f()
~~~~


## md: quotation and list
> 1. text
>    ```python
>    from bem2 import Config, other
>
>    Config()
>    ```
-
- a
    - ```bash
      $ python -m bem.x \\
          --a
      ```
->
> 1. text
>    ```python
>    from bem_core.config import Config
>    from bem2 import other
>
>    Config()
>    ```
-
- a
    - ```bash
      $ python -m bem_legacy.x \\
          --a
      ```


## md: fence without a language
```
from bem.x import y
```
```
(venv) $ python -m bem.x
```
->
```
from bem_legacy.x import y
```
```
(venv) $ python -m bem_legacy.x
```


## md: other languages
```yaml
_target_: bem.x.Y
```
```toml
[project.scripts]
a = "bem.x:f"
```
```json
{"module": "bem"}
```
```dockerfile
CMD ["python", "-m", "bem"]
```
```makefile
a:
	@python -m bem.x
```
->
```yaml
_target_: bem_legacy.x.Y
```
```toml
[project.scripts]
a = "bem_legacy.x:f"
```
```json
{"module": "bem_legacy"}
```
```dockerfile
CMD ["python", "-m", "bem_legacy"]
```
```makefile
a:
	@python -m bem_legacy.x
```


## md: python that does not parse
```python
from bem.x import (
    y,
)
...
model = <your model>
```
->
```python
from bem_legacy.x import (
    y,
)
...
model = <your model>
```


## md: console of IPython
```ipython
In [1]: import bem.x
In [2]: bem.x.f()
   ...: bem.x.g()
```
->
```ipython
In [1]: import bem_legacy.x
In [2]: bem_legacy.x.f()
   ...: bem_legacy.x.g()
```


## md: magics
```python
!python -m bem.x
%load_ext bem.x
import bem.x
%time bem.x.f()
```
->
```python
!python -m bem_legacy.x
%load_ext bem_legacy.x
import bem_legacy.x
%time bem_legacy.x.f()
```


## md: examples are one program
Text.

>>> import bem.x
>>> bem.x.f()
1

```pycon
>>> for i in range(2):
...     bem.x.f(i)
```
->
Text.

>>> import bem_legacy.x
>>> bem_legacy.x.f()
1

```pycon
>>> for i in range(2):
...     bem_legacy.x.f(i)
```


## md: an example that becomes two statements
>>> from bem2 import Config, other
->
>>> from bem_core.config import Config
>>> from bem2 import other


## md: indented code
Text:

    from bem.x import y
    y()
->
Text:

    from bem_legacy.x import y
    y()


## md: myst
```{automodule} bem.x
:members:
```
```{code-block} python
:linenos:

import bem.x
```
See {py:class}`bem.x.Y` and {mod}`bem`.
->
```{automodule} bem_legacy.x
:members:
```
```{code-block} python
:linenos:

import bem_legacy.x
```
See {py:class}`bem_legacy.x.Y` and {mod}`bem_legacy`.


## md: mkdocstrings
::: bem.x.Y
    options: {}
->
::: bem_legacy.x.Y
    options: {}


## rst: roles
:mod:`bem` :py:class:`~bem.x.Y` :func:`text <bem.x.f>` :meth:`!bem.x.Y.f()`
->
:mod:`bem_legacy` :py:class:`~bem_legacy.x.Y` :func:`text <bem_legacy.x.f>` :meth:`!bem_legacy.x.Y.f()`


## rst: directives
.. automodule:: bem
   :members:
.. autoclass:: bem2.Config
.. py:function:: bem.x.f(a, b=1)
.. currentmodule:: bem.x
.. autosummary::
   :toctree: a

   bem.x.f
   ~bem.x.g
->
.. automodule:: bem_legacy
   :members:
.. autoclass:: bem_core.config.Config
.. py:function:: bem_legacy.x.f(a, b=1)
.. currentmodule:: bem_legacy.x
.. autosummary::
   :toctree: a

   bem_legacy.x.f
   ~bem_legacy.x.g


## rst: code blocks
.. code-block:: python
   :caption: a

   from bem.x import y

.. code:: bash

   python -m bem.x

Example::

    import bem.x
    bem.x.f()

Back.
->
.. code-block:: python
   :caption: a

   from bem_legacy.x import y

.. code:: bash

   python -m bem_legacy.x

Example::

    import bem_legacy.x
    bem_legacy.x.f()

Back.


## docstring: examples
Do it.

    >>> import bem.x
    >>> bem.x.f()
    1
->
Do it.

    >>> import bem_legacy.x
    >>> bem_legacy.x.f()
    1


## docstring: usage and import lines
Do it.

Usage:
    python -m bem.x --a \\
        --b

Example:
    from bem.x import y
    y()

    The rest is text.
->
Do it.

Usage:
    python -m bem_legacy.x --a \\
        --b

Example:
    from bem_legacy.x import y
    y()

    The rest is text.


## docstring: fence, role and directive
See :class:`bem.x.Y`.

    ```python
    import bem.x
    ```

.. code-block:: python

    import bem.x
->
See :class:`bem_legacy.x.Y`.

    ```python
    import bem_legacy.x
    ```

.. code-block:: python

    import bem_legacy.x
""")


@pytest.mark.parametrize(("kind", "before", "after"), CHANGED)
def test_changes(kind: str, before: str, after: str) -> None:
    assert check(kind, before) == (after, [])
    windows = before.replace("\n", "\r\n")
    assert check(kind, windows) == (after.replace("\n", "\r\n"), [])


@pytest.mark.parametrize(
    ("kind", "text", "findings"),
    [
        pytest.param("md", "Install bem and bem2, pull bem:latest.", [], id="prose"),
        pytest.param("md", "`bem` and `import bem` in a sentence", [], id="inline code of one word"),
        pytest.param("md", "Use `bem.x.Y` or bem.x.", ["1:6 BM105", "1:18 BM105"], id="dotted prose"),
        pytest.param("md", "[a](https://x.org/bem.x) [b](bem/x.md) <https://bem.x>", [], id="links"),
        pytest.param("md", "See `bem/x/y.py`.", ["1:6 BM112"], id="path"),
        pytest.param("md", "See `bem/` and `src/bem2/`.", [], id="folders"),
        pytest.param("md", "```python\nbem = 1\nbem.real\n```\n", [], id="local variable"),
        pytest.param("md", "```python\nbem.x.f()\n```\n", ["2:1 BM105"], id="imported elsewhere"),
        pytest.param("md", "```sql\nSELECT * FROM bem.models\n```\n", [], id="sql"),
        pytest.param("md", "```text\nbem.x: ok\n```\n", ["2:1 BM105"], id="output"),
        pytest.param("md", "```bash\npip install bem\ndocker run bem:v1\n# python -m bem.x\n```\n", ["4:13 BM105"], id="shell"),
        pytest.param("md", "```\ntree bem\n├── bem/\n```\n", [], id="tree"),
        pytest.param("md", "```yaml\nname: bem\n- bem2\n```\n", [], id="broken yaml"),
        pytest.param("md", "```python\nfrom bem2 import gone\n```\n", ["2:18 BM106"], id="removed"),
        pytest.param("md", "```python\nimport other\nother.bem.x\n```\n", [], id="attribute of another"),
        pytest.param("md", "    import bemx\n", [], id="longer name"),
        pytest.param("md", ">>> print('bem')\nbem\n", [], id="example without names"),
        pytest.param("md", ">>> x\n<bem.x.Y>\n", ["2:2 BM105"], id="output of an example"),
        pytest.param("md", "```{note} bem\nbem\n```\n", [], id="admonition"),
        pytest.param("md", "text ::: bem.x\n", ["1:10 BM105"], id="colons in a sentence"),
        pytest.param("rst", "bem\n===\n\n``bem`` `bem`_ |bem|\n", [], id="rst prose"),
        pytest.param("rst", ":class:`bem` :ref:`bem.x` :doc:`bem/x`\n", ["1:20 BM105"], id="other roles"),
        pytest.param("rst", ".. _bem: https://x.org\n.. image:: bem/x.png\n.. toctree::\n\n   bem\n", [], id="other directives"),
        pytest.param("rst", ".. class:: bem\n", [], id="style class"),
        pytest.param("rst", ".. code-block:: sql\n\n   SELECT bem.models\n", [], id="rst sql"),
        pytest.param("rst", "Layout::\n\n    bem/\n    bem2/\n", [], id="literal block"),
        pytest.param("rst", ".. program-output:: bem --help\n", [], id="program"),
        pytest.param("docstring", "Load bem, then import bem models.", [], id="docstring prose"),
        pytest.param("docstring", "Wraps bem.x.Y.", ["1:7 BM105"], id="docstring dotted"),
        pytest.param("docstring", "Usage:\n    python bem/x/y.py --a\n", ["2:12 BM112"], id="docstring path"),
        pytest.param("docstring", "from bem to bem2\nimport bem things\n", [], id="sentence like an import"),
        pytest.param("docstring", "Args:\n    bem: The model.\n    bem2: The other.\n", [], id="arguments"),
        pytest.param("docstring", "python users like bem\n", [], id="sentence like a command"),
        pytest.param("docstring", ">>> bem = 1\n>>> bem.real\n1\n", [], id="local in an example"),
    ],
)  # fmt: skip
def test_stays(kind: str, text: str, findings: list[str]) -> None:
    assert check(kind, text) == (text, findings)


LINES = st.sampled_from(
    ["from bem.x import y", "import bem.x", "f()", "x = 'bem'", "", "if x:", "    import bem.x", "é = (", ")"]
)
PREFIXES = st.sampled_from(["", "> ", ">", "  ", "   > ", ">> ", "\t"])
NEWLINES = st.sampled_from(["\n", "\r\n"])


@given(
    st.lists(LINES, max_size=5),
    PREFIXES,
    NEWLINES,
    st.sampled_from(["python", "", "py x", "sh", "pycon", "text"]),
    st.booleans(),
)
def test_only_names_change_in_fences(lines: list[str], prefix: str, newline: str, info: str, closed: bool) -> None:
    body = ["- text", f"```{info}", *lines, *(["```"] if closed else []), "bem.x after"]
    text = newline.join(prefix + line for line in body)
    for kind in REWRITERS:
        after, _ = check(kind, text)
        assert after.replace("bem_legacy.x", "bem.x").replace("bem_legacy as bem", "bem") == text
