import math

import pytest

from nephi.errors import UsageError
from nephi.fields import FieldSettings


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"encoding": "wavelet"},
            r"field\.encoding: expected one of dense, nested, hash, fourier, coordinates, got 'wavelet'",
        ),
        ({"decoder": "relu"}, r"field\.decoder: expected one of silu, siren, gated-sine, got 'relu'"),
        *(({name: 0}, rf"field\.{name}: expected at least 1") for name in ("channels", "table_size", "frequencies")),
        *(({name: 0}, rf"field\.{name}: expected at least 1") for name in ("hidden", "layers")),
        ({"global_codes": -1}, "0 or more"),
        ({"local_codes": -1}, "0 or more"),
        ({"spacings": ()}, "millimetres above 0"),
        ({"spacings": (10.0, 0.0)}, "millimetres above 0"),
        ({"code_spacing": -1.0}, "millimetres above 0"),
        ({"spacings": (math.nan,)}, "finite"),
        ({"sigma": math.inf}, "finite"),
        ({"amplitude": math.nan}, "finite"),
        ({"amplitude": 0.0}, r"field\.amplitude.*above 0"),
        ({"amplitude_unit": "voxel"}, "mm or edge"),
        ({"omegas": (1.0, 0.0)}, "frequencies above 0"),
    ],
)
def test_invalid_settings_are_refused(change, complaint) -> None:
    with pytest.raises(UsageError, match=complaint):
        FieldSettings(**change)


def test_defaults_are_allowed() -> None:
    assert FieldSettings() == FieldSettings(encoding="dense", decoder="silu")
