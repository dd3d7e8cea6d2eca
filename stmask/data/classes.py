"""Class names of the public datasets, in the order of their category ids 1, 2, ..., spelled as they are there."""

from __future__ import annotations


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


YOUTUBE_VIS_2019 = _names("""
    person giant_panda lizard parrot skateboard sedan ape dog snake monkey hand rabbit duck cat cow fish train horse
    turtle bear motorbike giraffe leopard fox deer owl surfboard airplane truck zebra tiger elephant snowboard boat
    shark mouse frog eagle earless_seal tennis_racket
""")

YOUTUBE_VIS_2021 = _names("""
    airplane bear bird boat car cat cow deer dog duck earless_seal elephant fish flying_disc fox frog giant_panda
    giraffe horse leopard lizard monkey motorbike mouse parrot person rabbit shark skateboard snake snowboard
    squirrel surfboard tennis_racket tiger train truck turtle whale zebra
""")

OVIS = _names("""
    Person Bird Cat Dog Horse Sheep Cow Elephant Bear Zebra Giraffe Poultry Giant_panda Lizard Parrot Monkey Rabbit
    Tiger Fish Turtle Bicycle Motorcycle Airplane Boat Vehical
""")

CLASS_NAMES = {"ytvis2019": YOUTUBE_VIS_2019, "ytvis2021": YOUTUBE_VIS_2021, "ovis": OVIS}
"""The class names of each dataset, in the order of its category ids."""
