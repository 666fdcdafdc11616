"""Remember and speak: caches, prefill and step, sampling. Not here: what a layer computes (layers/)."""
