"""Classes of networks and datasets: matched by their names, never by their position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from stmask.errors import DataError

_SHOWN = 40


def matches(wanted: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """Where each wanted name is among the known ones; None where it is not.

    Where no name is spelt exactly so, case, spaces and underscores make no difference, as long as one name alone fits.
    """
    exact = {name: position for position, name in enumerate(known)}
    asked = set(wanted)
    free = Counter(_plain(name) for name in known if name not in asked)
    open_ = Counter(_plain(name) for name in wanted if name not in exact)
    loose = {
        _plain(name): position
        for position, name in enumerate(known)
        if name not in asked and free[_plain(name)] == open_[_plain(name)] == 1
    }
    return [exact.get(name, loose.get(_plain(name))) for name in wanted]


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


def listed(names: Sequence[str]) -> str:
    """Names for a message; of very many the first."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").strip()
