"""Classes of networks and datasets: matched by their names, never by their position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from stmask.errors import DataError


def matches(wanted: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """Where each wanted name is among the known ones; None where it is not.

    Where no name is spelt exactly so, case, spaces and underscores make no difference, as long as one name alone fits.
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
    """For each class of a network the dataset's id of the category of that name; None where the dataset has none.

    Args:
        class_names: of the network's labels 1..K.
        categories: the dataset's names by their ids.
        network, dataset: whose they are, in words for errors.

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
            f"latter has {listed(names) or 'none'}; give a dataset of the classes that were learnt, or rename its own"
        )
    return tuple(None if place is None else ids[place] for place in matches(class_names, names))


def require_distinct(categories: Mapping[int, str], *, source: str, what: str = "categories") -> None:
    """Refuses classes that their names do not tell apart.

    Raises:
        DataError: two of one name; their ids are named.
    """
    first: dict[str, int] = {}
    for number, name in categories.items():
        if first.setdefault(name, number) != number:
            raise DataError(
                f"{source}: the {what} {first[name]} and {number} are both called {name!r}, and classes are told apart "
                "by their names: rename one, or merge the two"
            )


def listed(names: Sequence[str], *, most: int = 40) -> str:
    """Names for a message; of more than `most` the first ones."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def plain_name(name: str) -> str:
    """What is left of a class name when case, outer spaces and the choice of space or underscore make no difference."""
    return " ".join(name.lower().replace("_", " ").split())
