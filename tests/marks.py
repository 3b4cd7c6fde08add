"""What a test needs of the machine."""

import pytest
import torch

from learnkit.core.precision import bfloat16_on

needs_bf16 = pytest.mark.skipif(
    not bfloat16_on(torch.device("cpu")).works, reason="this CPU cannot do bf16, and the test is about its bits"
)
