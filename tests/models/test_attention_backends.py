from __future__ import annotations

import pytest

from pippin.errors import PippinError
from pippin.models.attention import attention_backend, reference_attention


def test_unknown_backend_names_the_known_ones() -> None:
    with pytest.raises(PippinError, match=r"no attention backend named 'flash'.*reference"):
        attention_backend("flash")
    assert attention_backend("reference") is reference_attention
