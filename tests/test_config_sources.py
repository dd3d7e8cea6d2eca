from __future__ import annotations

import hydra
import pytest

from stmask.config import conf_dir
from stmask.config_sources import with_sources


@pytest.mark.parametrize(
    ("overrides", "message", "told"),
    [
        (
            ["recipe=tiny", "trainer.max_steps=15"],
            "scheduler.total_steps=15 is not above scheduler.warmup_steps=20",
            "trainer.max_steps=15 (yours) is not above scheduler.warmup_steps=20 (recipe/tiny.yaml)",
        ),
        (  # what Hydra gets of a sweep
            ["experiment=demo", "++scheduler.warmup_steps=1200"],
            "scheduler.total_steps=1200 is not above scheduler.warmup_steps=1200",
            "trainer.max_steps=1200 (experiment/demo.yaml) is not above scheduler.warmup_steps=1200 (yours)",
        ),
        (["trainer=gpu"], "trainer.accelerator=gpu: none", "trainer.accelerator=gpu (trainer/gpu.yaml): none"),
        (["trainer=cpu"], "trainer.num_nodes=1: few", "trainer.num_nodes=1 (trainer/default.yaml): few"),
        ([], "trainer.deterministic=false", "deterministic=false (train.yaml)"),
        (["experiment=table4/t4_fca"], "total_batch=16 by 3", "total_batch=16 (recipe/paper.yaml) by 3"),
        (
            ["trainer.max_steps=15", "scheduler=warmup_cosine", "scheduler.warmup_steps=20"],
            "scheduler.total_steps=15 is not above scheduler.warmup_steps=20",
            "trainer.max_steps=15 is not above scheduler.warmup_steps=20",
        ),
        # of what the user knows, or what is not in the configuration, nothing is said
        (["trainer.num_nodes=2"], "trainer.num_nodes=2: nothing", "trainer.num_nodes=2: nothing"),
        (["trainer.num_nodes=2"], "give trainer.num_nodes=1", "give trainer.num_nodes=1"),
        ([], "no key=value a=b, data.rot=3", "no key=value a=b, data.rot=3"),
    ],
)
def test_an_error_says_where_values_come_from(overrides: list[str], message: str, told: str) -> None:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("train", overrides)
        assert with_sources(message, cfg, config_name="train", overrides=overrides) == told
