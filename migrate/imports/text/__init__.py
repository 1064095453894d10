"""Rewriters for files that are not Python: shell, configuration, documents, notebooks.

Each ``rewrite(text, ctx)`` is pure. Code inside a document is cut out as a `view.View`, given to the rewriter of its
language, and the edits are mapped back, so nesting (a shell line in a fence in a Markdown cell of a notebook) is
nothing special.
"""
