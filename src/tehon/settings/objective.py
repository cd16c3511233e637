"""What the training minimises: noise, timesteps, loss and how much it counts."""

from typing import Literal

from pydantic import Field

from tehon.settings.section import Section


class ObjectiveSettings(Section):
    noise_offset: float = Field(default=0.0, ge=0, le=1)
    """Noise that is the same all over a channel, so that bright and dark pictures are learned; 0.05 to 0.1 is usual."""

    noise_offset_random_strength: bool = False
    """Draw the strength of the noise offset for each reading, from 0 to `noise_offset`."""

    adaptive_noise_scale: float = Field(default=0.0, ge=-1, le=1)
    """What is added to the noise offset for a channel, times the absolute mean of the picture's latent there."""

    multires_noise_iterations: int = Field(default=0, ge=0, le=64)
    """How many resolutions of coarser noise are added; 6 is usual, 0 means none."""

    multires_noise_discount: float = Field(default=0.3, gt=0, le=1)
    """How much weaker each coarser resolution of the added noise is; 0.8 is usual, 0.3 for few pictures."""

    ip_noise_gamma: float = Field(default=0.0, ge=0, le=1)
    """Share of other noise that the network sees and is not asked for (input perturbation); 0.1 in its paper."""

    ip_noise_gamma_random_strength: bool = False
    """Draw the share of the input perturbation for each reading, from 0 to `ip_noise_gamma`."""

    min_timestep: int = Field(default=0, ge=0, le=999)
    """The cleanest timestep that is trained."""

    max_timestep: int = Field(default=1000, ge=1, le=1000)
    """Timesteps below this are trained; 1000 is all."""

    timestep_sampling: Literal["uniform", "logit_normal"] = "uniform"
    """Which timesteps are drawn: each as often, or those around `logit_mean` more often."""

    logit_mean: float = Field(default=0.0, ge=-10, le=10)
    """Around which timestep logit_normal draws: 0 is the middle of the range, above is noisier."""

    logit_std: float = Field(default=1.0, gt=0, le=10)
    """How widely logit_normal draws."""

    stratified_timesteps: bool = False
    """Spread the timesteps of an update's pictures evenly, so that its loss jumps less."""

    loss_type: Literal["l2", "l1", "huber", "smooth_l1"] = "l2"
    """How an error counts: squared, by its size, or squared when small and by its size when large."""

    huber_schedule: Literal["constant", "exponential", "snr"] = "snr"
    """How the border between small and large errors depends on the timestep."""

    huber_c: float = Field(default=0.1, gt=0, le=1)
    """The border between small and large errors, at the noisiest timestep."""

    huber_scale: float = Field(default=1.0, gt=0)
    """A factor on that border at every timestep."""

    min_snr_gamma: float = Field(default=0.0, ge=0)
    """Count weakly noised pictures less, from this ratio of signal to noise on; 5 in its paper, 0 leaves it off."""

    debiased_estimation_loss: bool = False
    """Weigh each loss by 1 / √SNR, so that all noise levels count in the picture that is estimated."""

    scale_v_pred_loss_like_noise_pred: bool = False
    """For models that predict v: weigh each loss by SNR / (SNR + 1), as if the model predicted the noise."""

    zero_terminal_snr: bool = False
    """For models that predict v: end the noise in pure noise, for pictures as dark or bright as they should be. Samples
    are drawn with the same noise; a program that draws with the LoRA has to be told as well."""

    v_pred_like_loss: float = Field(default=0.0, ge=0)
    """Add this share of the loss that a model with v-prediction would have."""

    prior_loss_weight: float = Field(default=1.0, ge=0)
    """How much regularisation pictures count in the loss; a picture to learn counts 1."""

    masked_loss: bool = False
    """Count in the loss only what the masks show: those of `data.mask_folder`, or `data.alpha_mask`."""
