"""Pictures and tables from plain arrays. Not here: where the arrays come from, widgets."""
