"""HTML from nested calls: text is escaped where it is put in, so that no name of a file or class becomes markup."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TypeAlias

_MOST_LETTERS = 120  # of a name
_EMPTY = frozenset({"br", "hr", "img", "circle", "line", "path", "rect"})  # elements without an end


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Iterable[Child] | None"


def escape(text: object) -> Markup:
    """Any text as HTML: what can't be shown or written (control characters, halves of surrogate pairs) is replaced."""
    clean = "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\ufffd" for c in str(text))
    return Markup(html.escape(clean, quote=True))


def tag(name: str, *children: Child, attributes: Mapping[str, object] | None = None, **more: object) -> Markup:
    """An element. Children that are not `Markup` are escaped, None is left out.

    Args:
        attributes: by their names in HTML; those given as keywords may end in `_` (`class_`). None and False are left
            out, True is an attribute without a value.
    """
    given = {**(attributes or {}), **{key.rstrip("_").replace("_", "-"): value for key, value in more.items()}}
    words = [name]
    for key, value in given.items():
        if value is None or value is False:
            continue
        words.append(key if value is True else f'{key}="{escape(value)}"')
    if name in _EMPTY:
        return Markup(f"<{' '.join(words)}/>" if name in ("circle", "line", "path", "rect") else f"<{' '.join(words)}>")
    return Markup(f"<{' '.join(words)}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Children one after the other."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, (str, int, float)):
            parts.append(child if isinstance(child, Markup) else escape(child))
        else:
            parts.append(join(*child))
    return Markup("".join(parts))


def name(text: object) -> Markup:
    """A name from a file: cut where it is very long, and kept from turning the text around it."""
    shown = str(text)
    if len(shown) > _MOST_LETTERS:
        shown = f"{shown[: _MOST_LETTERS - 1]}…"
    return tag("bdi", shown or "(no name)")


def table(
    head: Iterable[Child], rows: Iterable[Iterable[Child]], *, caption: str, numbers: bool = True, class_: str = ""
) -> Markup:
    """A table that scrolls by itself where it is too wide; the first cell of a row is its heading.

    Args:
        caption: what it shows, for those who can't see it.
        numbers: all columns but the first are numbers.
    """
    classes = " ".join(filter(None, ("numbers" if numbers else "", class_)))
    body = [tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)) for first, *rest in rows]
    headings = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    content = tag("table", tag("caption", caption), tag("thead", headings), tag("tbody", *body), class_=classes or None)
    return tag("div", content, class_="wide", tabindex="0", role="region", aria_label=caption)


def definitions(facts: Mapping[str, Child], *, class_: str | None = None) -> Markup:
    """Names and what they are; those that are None are left out."""
    pairs = [(tag("dt", key), tag("dd", value)) for key, value in facts.items() if value is not None]
    return tag("dl", *pairs, class_=class_)


def section(identity: str, title: str, *children: Child) -> Markup:
    """A part of the page with a heading."""
    return tag("section", tag("h2", title, id=f"{identity}-title"), *children, id=identity,
               aria_labelledby=f"{identity}-title")  # fmt: skip


def note(text: Child) -> Markup:
    """A remark: what is missing, and why."""
    return tag("p", text, class_="note")
