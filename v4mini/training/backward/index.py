"""Index scores and their backward. The choice itself is integers and passes no gradient: the indexer learns from its own loss.

Not here: that loss (losses.py), the choice (ops/index.py).
"""

import numpy as np


def index_scores(g, q, keys, weights):                  # [T, N], [T, Hi, di], [N, di], [T, Hi] -> g_q, g_keys, g_weights
    """I_tn = sum_h w_th relu(q_th . k_n):

    g_w_th = sum_n g_tn relu(..),  g_product_thn = g_tn w_th where the product is positive
    g_q = g_product k,  g_k = g_product^T q
    """
    T, Hi, di = q.shape
    products = (q.reshape(T * Hi, di) @ keys.T).reshape(T, Hi, len(keys))
    positive = products > 0
    g_weights = np.matmul(np.where(positive, products, 0), g[:, :, None])[..., 0]
    g_products = np.where(positive, g[:, None, :] * weights[:, :, None], 0).reshape(T * Hi, len(keys))
    return (g_products @ keys).reshape(T, Hi, di), g_products.T @ q.reshape(T * Hi, di), g_weights
