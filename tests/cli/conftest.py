"""What the commands' tests borrow: the release on a server of tests/weights, and tables of one's own of tests/planning."""

from planning.conftest import table
from weights.conftest import folder, server, started

__all__ = ["folder", "server", "started", "table"]
