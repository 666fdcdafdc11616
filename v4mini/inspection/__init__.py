"""What is in a checkpoint, as plain data: counts, bytes, faults (report.py) and which known layout it has (recognise.py).

Not here: printing (cli/), what a model needs (weights/).
"""

from v4mini.inspection.report import describe_layers, inspect_checkpoint, inspect_config, inspect_release

__all__ = ["describe_layers", "inspect_checkpoint", "inspect_config", "inspect_release"]
