"""The mathematics of diffusion, as functions of tensors."""
