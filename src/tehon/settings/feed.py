"""How pictures get to the network: caches and loader processes. Results don't depend on it."""

from pydantic import Field

from tehon.settings.section import Section


class FeedSettings(Section):
    cache_latents: bool = True
    """Encode every picture once and keep the result in memory. Off: every reading is encoded anew."""

    cache_latents_to_disk: bool = False
    """Keep encoded pictures on disk too, for the next run. A changed picture, size or VAE is noticed."""

    read_npz: bool = False
    """Use the latents in sd-scripts' `.npz` files beside the pictures where they fit, instead of encoding. They hold
    one sample each, and don't say which VAE made them."""

    cache_text: bool = True
    """Encode every caption once while the text encoder is not trained."""

    cache_folder: str = ""
    """Where caches lie. Empty: tehon's folder among the user's caches."""

    vae_batch_size: int = Field(default=0, ge=0)
    """Pictures encoded at once before the training; 0 means as many as the batch size."""

    max_data_loader_n_workers: int = Field(default=0, ge=0)
    """Processes that read pictures ahead of the training; 0 means that the training reads them itself."""

    persistent_data_loader_workers: bool = False
    """Keep those processes from epoch to epoch instead of starting new ones."""
