from __future__ import annotations

from collections import defaultdict
from functools import cache

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from stmask.checkpoints import build_model
from stmask.config import compose, plain
from stmask.errors import ConfigError
from stmask.experiments.rows import BESIDES, FCB, QUIRKS, TITLES, Row, rows, tables
from stmask.models.stmask import AdaptiveCalibration
from stmask.official.quirks import KernelsFirstHead
from stmask.runs.identity import config_hash

ROWS = [row for table in tables() for row in rows(table)]
CLASSES = 40
# rows that are one network, trained one way: one run
SAME = [
    {"t1_3x3", "t4_baseline", "t5_baseline"},
    {"t1_3x5", "t2_none", "t4_fca", "t5_fca"},
    {"t2_class_mask_ada", "t4_fca_ada"},
    {"t2_mask_track_ali", "t4_fca_ali"},
    {"t4_fca_ada_tf", "t6_stmask_r101_ada"},
    {"t4_fca_ali_tf", "t6_stmask_r101_ali"},
]


@cache
def config(name: str, recipe: str = "paper") -> DictConfig:
    experiment = next(row.experiment for row in ROWS if row.name == name)
    return compose("train", [f"experiment={experiment}", f"recipe={recipe}"])


@cache
def parameters(name: str) -> int:
    """Learnable values of the row's network; nothing is computed, nothing is filled."""
    with torch.device("meta"):
        network = build_model(plain(config(name).model), num_classes=CLASSES)
    return sum(parameter.numel() for parameter in network.parameters())


# --- the list


def test_every_row_of_the_paper_that_is_stmask_is_there() -> None:
    assert (*tables(), *BESIDES) == tuple(TITLES)
    assert [len(rows(table)) for table in tables()] == [3, 9, 2, 6, 5, 6]


def test_rows_stand_in_the_order_of_the_paper_with_its_numbers() -> None:
    assert rows("table3") == (
        Row("table3", "t3_p3", "table3/t3_p3", {"AP": 33.8, "AP50": 51.3, "AP75": 35.8, "AR1": 32.1, "AR10": 39.6}),
        Row(
            "table3",
            "t3_p4",
            "table3/t3_p4",
            {"AP": 35.0, "AP50": 53.0, "AP75": 38.7, "AR1": 32.8, "AR10": 40.1},
            "t3_p3",
        ),
    )
    assert [row.name for row in ROWS if "AP" not in row.paper] == ["t6_condinst_r50"]
    assert [row.paper["AP"] for row in rows("table4")] == [28.9, 30.8, 34.4, 33.1, 36.8, 36.3]


@pytest.mark.parametrize(
    ("name", "hint"), [("tabel4", "did you mean 'table4'?"), ("zzz", "there are: table1, table2, ")]
)
def test_a_typo_suggests_the_nearest_table(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rows(name)
    assert str(caught.value).startswith(f"unknown table {name!r}; {hint}")


def test_a_row_differs_in_one_part_from_the_row_before() -> None:
    table4 = {row.name.removeprefix("t4_"): (row.before or "").removeprefix("t4_") for row in rows("table4")}
    assert table4 == {
        "baseline": "", "fca": "baseline", "fca_ada": "fca", "fca_ali": "fca", "fca_ada_tf": "fca_ada",
        "fca_ali_tf": "fca_ali",
    }  # fmt: skip
    assert [row.before for row in rows("table5")] == [None, *["t5_baseline"] * 4]
    for table in (*tables(), *BESIDES):
        names = {row.name for row in rows(table)}
        assert {row.before for row in rows(table)} <= {None, *names}


# --- the configurations


@pytest.mark.parametrize("recipe", ["paper", "tiny"])
def test_rows_are_one_run_where_they_are_one_network(recipe: str) -> None:
    shared = defaultdict(set)
    for row in ROWS:
        assert config(row.name, recipe).name == row.name
        shared[config_hash(config(row.name, recipe))].add(row.name)
    assert len(shared) == 22
    assert sorted(sorted(names) for names in shared.values() if len(names) > 1) == sorted(map(sorted, SAME))


def test_metrics_of_one_run_agree() -> None:
    """The paper gives the same AP wherever it repeats a row."""
    for names in SAME:
        assert len({row.paper["AP"] for row in ROWS if row.name in names}) == 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_its_optimizer_and_schedule(row: Row) -> None:
    cfg = config(row.name)
    optimizer = instantiate(cfg.optimizer, _convert_="all")([torch.nn.Parameter(torch.zeros(1))])
    scheduler = instantiate(cfg.scheduler, _convert_="all")(optimizer)
    factor = scheduler.lr_lambdas[0]
    assert [factor(step) for step in (0, 500, 65_999, 66_000, 133_000)] == pytest.approx([0.1, 1, 1, 0.1, 0.01])
    assert cfg.trainer.max_steps == 160_000
    assert cfg.total_batch == 16


# --- the networks


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["paper", "release", "release_ovis", "tiny", "coco"])
@pytest.mark.parametrize("others", ["optimizer=adamw scheduler=warmup_cosine", "optimizer=sgd scheduler=constant"])
def test_a_recipe_leaves_optimizer_and_schedule_to_be_chosen(recipe: str, others: str) -> None:
    limit = "trainer.max_steps=1000"  # for the cosine to end at
    cfg = compose("train", ["experiment=table1/t1_3x5", f"recipe={recipe}", limit, *others.split()])
    network = torch.nn.Linear(1, 1)
    instantiate(cfg.scheduler, _convert_="all")(instantiate(cfg.optimizer, _convert_="all")(network.parameters()))


def test_every_row_builds_and_counts_as_its_family_says() -> None:
    count = {row.name: parameters(row.name) for row in ROWS}
    for names in SAME:
        assert len({count[name] for name in names}) == 1

    # a calibrated branch has a deformable kernel for each anchor shape, an adaptive one a 1x1 convolution as well
    def kernels(areas: list[int]) -> int:
        return sum(areas) * 256 * 256

    def learned(areas: list[int]) -> int:
        return sum(4 * 2 * area for area in areas)

    fca, plain = [9, 15, 15], [9, 9, 9]
    without = count["t1_3x5"]
    for branches, number in (("class_mask_track", 3), ("class_mask", 2), ("class_track", 2), ("mask_track", 2)):
        ada, ali = count[f"t2_{branches}_ada"], count[f"t2_{branches}_ali"]
        assert ada - ali == number * learned(fca)
        assert ali - without == number * kernels(fca)
    assert count["t5_ada"] - count["t5_baseline"] == 2 * (kernels(plain) + learned(plain))
    assert count["t5_ali"] - count["t5_baseline"] == 2 * kernels(plain)

    # output kernels: 4 box values, 41 classes, 32 coefficients, 128 embedding values, 1 centre-ness for each tap
    outputs = 256 * (4 + (CLASSES + 1) + 32 + 128 + 1)
    assert count["t1_3x5"] - count["t1_3x3"] == (sum(fca) - sum(plain)) * outputs
    assert count["t1_3x2"] - count["t1_3x3"] == (9 + 6 + 6 - sum(plain)) * outputs

    # the first convolution of the fusion reads the correlation maps
    assert count["t3_p3"] - count["t3_p4"] == (13**2 - 11**2) * 512 * 9
    fusion = count["t3_p4"] - count["t1_3x5"]
    assert fusion == count["t5_tf"] - count["t5_baseline"]
    assert fusion == count["t4_fca_ada_tf"] - count["t4_fca_ada"] == count["t4_fca_ali_tf"] - count["t4_fca_ali"]
    assert fusion == (121 + 512) * 512 * 9 + 512 + 512 * 512 * 9 + 512 + 512 * 1024 * 9 + 1024 + 1025 * (4 + 32)

    assert len(set(count.values())) == 18, "networks of equal size are those with FCB on two branches"


# --- the quirks


def quirks_of(row: Row) -> set[int]:
    """The quirks of a row's network and losses, by what is built of its configuration."""
    cfg = compose("train", [f"experiment={row.experiment}", "recipe=tiny"])
    model = build_model(plain(cfg.model), num_classes=5)
    found = {*getattr(model.loss, "quirks", ()), *getattr(model.detector, "quirks", ())}
    return found | ({1} if type(model.head) is KernelsFirstHead else set())


def test_each_quirk_is_mended_alone_and_all_together() -> None:
    every = {1, 2, 3, 4, 7}
    wanted = {f"q_mended_{number}": every - {number} for number in every}
    assert {row.name: quirks_of(row) for row in rows(QUIRKS)} == {"q_released": every, **wanted, "q_clean": set()}


def test_the_clean_row_is_a_row_of_table_4_and_trained_once() -> None:
    clean, row = (compose("train", [f"experiment={name}"]) for name in ("quirks/q_clean", "table4/t4_fca_ada"))
    assert config_hash(clean) == config_hash(row)


# --- FCB, its layer and its offsets


def test_rows_of_fcb_differ_from_the_row_before_in_one_part() -> None:
    cfgs = {row.name: compose("train", [f"experiment={row.experiment}"]) for row in rows(FCB)}
    align = {name: plain(cfg.model.head.align) for name, cfg in cfgs.items()}
    for row in rows(FCB):
        if row.before not in (None, "f_none"):
            assert align[row.name]["branches"] == align[row.before]["branches"]
    for name, other in (("f_none", "t5_baseline"), ("f_ali", "t5_ali"), ("f_ada", "t5_ada")):
        assert config_hash(cfgs[name]) == config_hash(config(other))


@pytest.mark.parametrize("start", ["drawn", "zero"])
def test_offsets_begin_drawn_or_at_zero(start: str) -> None:
    name = {"drawn": "f_ada", "zero": "f_ada_zero"}[start]
    cfg = compose("train", [f"experiment=fcb/{name}", "recipe=tiny"])
    networks = []
    for _ in range(2):
        torch.manual_seed(0)
        networks.append(build_model(plain(cfg.model), num_classes=5))
    offsets = [value for key, value in networks[0].named_parameters() if ".offsets." in key]
    assert len(offsets) == 6
    assert all(bool(value.any()) is (start == "drawn") for value in offsets)
    (drawn,) = (value for key, value in networks[0].named_parameters() if key == "head.class_outputs.0.adapt")
    assert drawn.any()
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_another_start_is_refused() -> None:
    with pytest.raises(ValueError, match="start must be one of drawn, zero, got 'one'"):
        AdaptiveCalibration(start="one")
