"""The worker drives transformers with the cache that its version has, 5.23 or 5.24, without a warning."""

import numpy as np
import pytest

from v4mini.bench.worker import HuggingFace
from v4mini.config import Config


@pytest.mark.parity
def test_a_cached_step_of_transformers_goes_on_where_the_prompt_ended():
    config, ids = Config.tiny().replace(n_mtp_layers=0), np.arange(9)
    driven = HuggingFace(config, {"hf_experts": "eager"})
    driven.prefill(ids)
    driven.step(50)
    assert driven.past.get_seq_length() == 10

    def last(ids, **more):
        return driven.model(driven.torch.tensor([ids]), **more).logits[0, -1].numpy()
    with driven.torch.no_grad():
        before, wanted = last([*ids, 50]), last([*ids, 50, 51])
        again = last([51], use_cache=True, **{driven.cache_name: driven.past})
    np.testing.assert_allclose(again, wanted, rtol=0, atol=2e-5)
    assert np.abs(again - before).max() > 1e-2
