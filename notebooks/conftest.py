"""For `pytest --nbval`, from any folder: the same clean-up of outputs before they are compared. See sanitize.cfg."""

from pathlib import Path


def pytest_collectstart(collector):
    options = collector.config.option
    if type(collector).__name__ == "IPyNbFile" and options.nbval_sanitize_with is None:
        options.nbval_sanitize_with = str(Path(__file__).with_name("sanitize.cfg"))
