"""tehon teaches a Stable Diffusion model from a folder of pictures; the public API is `tehon.api`."""

__version__ = "0.1.0"
