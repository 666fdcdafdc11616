"""Learn: gradients, losses, optimisers, what to learn from, the loop, and measuring what came of it.

Not here: what a layer computes (layers/), using a model (inference/).
"""
