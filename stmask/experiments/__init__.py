"""The paper's tables: their rows as configurations, sweeps over them, and the tables made from what was measured."""
