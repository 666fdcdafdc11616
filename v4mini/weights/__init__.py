"""Where numbers come from: files, the table of tensors, random values. Not here: what is done with them (layers/)."""
