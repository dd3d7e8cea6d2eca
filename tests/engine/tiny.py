"""Configurations for tests of whole runs."""

from stmask.config import conf_dir

# the demo's network, so small that a step takes milliseconds
TINY = [
    "experiment=demo",
    "data.preprocessor.height=64",
    "data.preprocessor.width=96",
    "data.batch_size=2",
    "data.samples_per_epoch=4",
    "model.backbone.width=8",
    "model.channels=16",
    "model.num_prototypes=4",
    "model.head.embedding_dim=8",
    "model.temporal.size=3",
    "model.temporal.hidden=[8]",
    "scheduler.warmup_steps=1",
    "trainer.max_steps=4",
    "trainer.check_val_every_n_epoch=1",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
]

MODELS = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))
# each of them, likewise
SMALL = [
    "recipe=tiny",
    "data.preprocessor.height=64",
    "data.preprocessor.width=96",
    "data.samples_per_epoch=4",
    "model.backbone.width=16",
    "model.channels=16",
    "scheduler=constant",
    "ema=on",
    "trainer.check_val_every_n_epoch=1",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
]
