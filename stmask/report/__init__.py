"""One HTML page on what a run or a results file is worth: curves, metrics, errors, clips. See docs/reports.md."""
