from __future__ import annotations

import pytest
import pytorch_lightning as pl

from stmask.engine.lightning_private import ProgressBar


@pytest.mark.parametrize(("max_epochs", "text"), [(-1, "Epoch 3"), (12, "Epoch 3/11")])
def test_the_bar_names_the_last_epoch_where_there_is_one(max_epochs: int, text: str) -> None:
    bar = ProgressBar()
    bar._trainer = pl.Trainer(
        max_epochs=max_epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    assert bar._get_train_description(3).strip() == text
