"""The command `vis-metric`, and `python -m vis_metric`."""

import sys

from vis_metric.commands import metric
from vis_metric.console import exit_status


def main() -> int:
    """Scores a results file; see `vis-metric --help`."""
    return exit_status(lambda: metric.main(sys.argv[1:], prog="vis-metric"))


if __name__ == "__main__":
    sys.exit(main())
