"""One trained (smoke) generator for all tests of this folder; they only read it."""

from pathlib import Path

import pytest

from generative.autoencoder.encode import STAGE as ENCODE
from generative.autoencoder.train import STAGE as AUTOENCODER
from generative.diffusion.sample import STAGE as SAMPLE
from generative.diffusion.train import STAGE as DIFFUSION
from tests.support.generator import make_workspace, run_stages


@pytest.fixture(scope="session")
def generator_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four stages at scale smoke on the small speckle dataset, two classes of unequal size."""

    def edit(tree: dict) -> None:
        tree["scales"]["smoke"]["sample"] |= {"count": 10, "batch": 4, "guidance": 1.5}

    root = make_workspace(tmp_path_factory.mktemp("generator"), edit, count=21, classes=("benign", "malignant"))
    run_stages(root, AUTOENCODER, ENCODE, DIFFUSION, SAMPLE)
    return root
