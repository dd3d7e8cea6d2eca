"""Classes of networks and datasets: matched by name, never by position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from stmask.errors import DataError


def matches(wanted: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """The position of each wanted name among the known ones; None if it is missing.

    Without an exact match, case, spaces and underscores are ignored, as long as only one name fits.
    """
    exact = {name: position for position, name in enumerate(known)}
    asked = set(wanted)
    free = Counter(plain_name(name) for name in known if name not in asked)
    open_ = Counter(plain_name(name) for name in wanted if name not in exact)
    loose = {
        plain_name(name): position
        for position, name in enumerate(known)
        if name not in asked and free[plain_name(name)] == open_[plain_name(name)] == 1
    }
    return [exact.get(name, loose.get(plain_name(name))) for name in wanted]


def ids_by_name(
    class_names: Sequence[str], categories: Mapping[int, str], *, network: str, dataset: str
) -> tuple[int | None, ...]:
    """For each class of a network, the dataset's category id of that name; None if the dataset lacks it.

    Args:
        class_names: of the network's labels 1..K.
        categories: the dataset's names by their ids.
        network, dataset: what the two are called in errors.

    Raises:
        DataError: the dataset has a category that the network does not know, so that not all of it can be scored; or a
            name stands for two classes.
    """
    require_distinct(dict(enumerate(class_names, start=1)), source=network, what="labels")
    require_distinct(categories, source=dataset)
    ids, names = list(categories), list(categories.values())
    unknown = [name for name, place in zip(names, matches(names, class_names), strict=True) if place is None]
    if unknown or not names:
        raise DataError(
            f"{network} and {dataset} do not have the same categories: the former knows {listed(class_names)}, the "
            f"latter has {listed(names) or 'none'}; give a dataset with those classes, or rename its own"
        )
    return tuple(None if place is None else ids[place] for place in matches(class_names, names))


def require_distinct(categories: Mapping[int, str], *, source: str, what: str = "categories") -> None:
    """Refuses classes whose names are ambiguous.

    Raises:
        DataError: two classes share a name; the message gives their ids.
    """
    first: dict[str, int] = {}
    for number, name in categories.items():
        if first.setdefault(name, number) != number:
            raise DataError(
                f"{source}: the {what} {first[name]} and {number} are both called {name!r}, but classes are identified "
                "by their names: rename one, or merge the two"
            )


def listed(names: Sequence[str], *, most: int = 40) -> str:
    """Names for a message: at most the first `most` of them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def plain_name(name: str) -> str:
    """A class name without differences in case, outer spaces, and space or underscore."""
    return " ".join(name.lower().replace("_", " ").split())
