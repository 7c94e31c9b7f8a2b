"""The sampling pipeline, as it is copied into the saved folder: it needs torch and diffusers alone.

    from diffusers import DiffusionPipeline
    pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
    images = pipeline(class_labels=[0, 1], generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)]).images

`trust_remote_code` runs this file. Each component also loads by itself without it, for example
`AutoencoderKL.from_pretrained(folder, subfolder="vae")`.
"""

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, UNet2DModel
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image


class UltrasoundPipeline(DiffusionPipeline):
    """Latent diffusion of gray ultrasound images, conditional on a class where the training set has classes.

    unet: v-prediction denoiser on scaled latents. vae: its config must hold latents_mean and latents_std.
    class_names: names of the class indices (empty: no classes); class_counts: training images of each.
    """

    def __init__(
        self,
        unet: UNet2DModel,
        scheduler: DDIMScheduler,
        vae: AutoencoderKL,
        class_names: list | None = None,
        class_counts: list | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, vae=vae)
        self.register_to_config(class_names=list(class_names or []), class_counts=list(class_counts or []))

    @torch.no_grad()
    def __call__(
        self,
        class_labels: list[int] | torch.Tensor | None = None,
        batch_size: int = 1,
        num_inference_steps: int = 20,
        guidance_scale: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
    ) -> ImagePipelineOutput:
        """Draw images.

        class_labels: one index per image; None draws from the null class. batch_size: number of images where neither
        class_labels nor latents tell it. num_inference_steps: must divide the T steps of the schedule.
        guidance_scale w: D = D_null + w (D_class - D_null), then brought back to the deviation of D_class; 1 is none.
        latents: starting noise (B, c, h, w), instead of a generator. output_type: "pil", "np" (B, H, W, 1) or "pt"
        (B, 1, H, W), the latter two float32 in [0, 1].
        """
        for name in ("latents_mean", "latents_std"):
            if self.vae.config.get(name) is None:
                raise ValueError(f"vae config: expected {name}, found none; the decoder needs unscaled latents")
        T = self.scheduler.config.num_train_timesteps
        if T % num_inference_steps:
            # DDIM takes T // steps as its stride; with a remainder it would leave the schedule that it was set to.
            raise ValueError(f"num_inference_steps: expected a divisor of {T}, found {num_inference_steps}")
        device = self._execution_device
        if class_labels is not None:
            batch_size = len(class_labels)
        elif latents is not None:
            batch_size = len(latents)

        unet = self.unet.config
        shape = (batch_size, unet.in_channels, unet.sample_size, unet.sample_size)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=device, dtype=self.unet.dtype)
        if tuple(latents.shape) != shape:
            raise ValueError(f"latents: expected the shape {shape}, found {tuple(latents.shape)}")
        x = latents.to(device, self.unet.dtype)

        labels, null = None, None
        if unet.num_class_embeds is not None:
            null = torch.full((batch_size,), unet.num_class_embeds - 1, device=device)
            labels = null if class_labels is None else torch.as_tensor(class_labels, device=device).long()
            if labels.min() < 0 or labels.max() > null[0]:
                raise ValueError(f"class_labels: expected 0 ... {int(null[0])} (null), found {labels.tolist()}")
        elif class_labels is not None:
            raise ValueError("class_labels: this network has no classes; leave them out")

        self.scheduler.set_timesteps(num_inference_steps, device=device)
        for t in self.progress_bar(self.scheduler.timesteps):
            v = self.unet(x, t, class_labels=labels).sample
            if guidance_scale != 1.0 and class_labels is not None:
                v_null = self.unet(x, t, class_labels=null).sample
                guided = v_null + guidance_scale * (v - v_null)
                v = guided * (_deviation(v) / _deviation(guided))
            x = self.scheduler.step(v, t, x).prev_sample

        mean = torch.tensor(self.vae.config.latents_mean, device=device, dtype=x.dtype).view(1, -1, 1, 1)
        std = torch.tensor(self.vae.config.latents_std, device=device, dtype=x.dtype).view(1, -1, 1, 1)
        images = self.vae.decode(x * std + mean).sample.float().add(1.0).div(2.0).clamp(0.0, 1.0)
        if output_type == "pt":
            return ImagePipelineOutput(images=images)
        array = images.permute(0, 2, 3, 1).cpu().numpy()
        if output_type == "np":
            return ImagePipelineOutput(images=array)
        return ImagePipelineOutput(
            images=[Image.fromarray((image[:, :, 0] * 255).round().astype("uint8")) for image in array]
        )


def _deviation(v: torch.Tensor) -> torch.Tensor:
    """Standard deviation of each item: (B, c, h, w) -> (B, 1, 1, 1)."""
    return v.flatten(1).std(dim=1).view(-1, 1, 1, 1)
