"""The same model on other machines: Triton kernels for CUDA and Ascend, and what is proven of them."""
