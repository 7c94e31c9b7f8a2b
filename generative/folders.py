"""Reading the networks of a diffusers folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.runtime.artifacts import load_tensors

WEIGHTS = "diffusion_pytorch_model.safetensors"  # the name that diffusers gives


def load_model(kind: Any, folder: Path) -> Any:
    """A network of class `kind` (AutoencoderKL, UNet2DModel) from its folder, on the CPU, in eval mode.

    Read by our own checked reader and not by `from_pretrained`, which writes the path into the config: a copy of the
    network that is saved again would then differ from place to place. ArtifactError on torn or foreign weights.
    """
    model = kind.from_config(kind.load_config(folder))
    model.load_state_dict(load_tensors(folder / WEIGHTS))
    return model.eval()
