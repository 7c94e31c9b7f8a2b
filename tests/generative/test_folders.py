"""Networks are read by the checked reader and leave no trace of where they lay."""

import pytest
import torch
from diffusers.models import AutoencoderKL

from generative.folders import WEIGHTS, load_model
from pipelines.runtime.errors import ArtifactError


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    vae = AutoencoderKL(in_channels=1, out_channels=1, block_out_channels=(8,), norm_num_groups=4, latent_channels=2)
    vae.save_pretrained(tmp_path / "a")
    return vae, tmp_path


def test_weights_and_config_survive_and_a_copy_has_the_same_bytes(saved):
    vae, root = saved
    found = load_model(AutoencoderKL, root / "a")
    assert not found.training
    assert all(torch.equal(value, vae.state_dict()[name]) for name, value in found.state_dict().items())
    found.save_pretrained(root / "b")
    for name in ("config.json", WEIGHTS):
        assert (root / "a" / name).read_bytes() == (root / "b" / name).read_bytes()


def test_torn_weights_are_named(saved):
    _, root = saved
    path = root / "a" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match=WEIGHTS):
        load_model(AutoencoderKL, root / "a")
