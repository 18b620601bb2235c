import math

import pytest

from nephi.errors import UsageError
from nephi.fields import FieldSettings

COUNTS = ("channels", "table_size", "frequencies", "hidden", "layers")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"encoding": "wavelet"},
            r"field\.encoding: expected one of dense, nested, hash, fourier, coordinates, got 'wavelet'",
        ),
        ({"decoder": "relu"}, r"field\.decoder: expected one of silu, siren, gated-sine, got 'relu'"),
        (
            {"interpolation": "spline"},
            r"field\.interpolation: expected one of linear, quadratic, cubic, got 'spline'",
        ),
        *(({name: 0}, rf"field\.{name}: expected 1 to") for name in COUNTS),
        *(({name: 10**12}, rf"field\.{name}: expected 1 to .*, got 1000000000000") for name in COUNTS),
        ({"global_codes": -1}, r"field\.global_codes: expected 0 to"),
        ({"local_codes": 10**12}, r"field\.local_codes: expected 0 to"),
        ({"spacings": ()}, r"field\.spacings: expected 1 to 64 lengths in mm, got 0"),
        ({"spacings": (1.0,) * 65}, r"field\.spacings: expected 1 to 64 lengths in mm, got 65"),
        ({"spacings": (10.0, 0.0)}, r"field\.spacings: expected 1e-09 to 1e\+09, got 0\.0"),
        ({"spacings": (math.nan,)}, r"field\.spacings: .* got nan"),
        ({"code_spacing": -1.0}, r"field\.code_spacing: .* got -1\.0"),
        ({"sigma": math.inf}, r"field\.sigma: .* got inf"),
        ({"sigma": 0.0}, r"field\.sigma: .* got 0\.0"),
        ({"amplitude": math.nan}, r"field\.amplitude: .* got nan"),
        ({"amplitude": 1e300}, r"field\.amplitude: .* got 1e\+300"),
        ({"amplitude_unit": "voxel"}, "mm or edge"),
        ({"omegas": (1.0, 0.0)}, r"field\.omegas: .* got 0\.0"),
    ],
)
def test_invalid_settings_are_refused(change, complaint) -> None:
    with pytest.raises(UsageError, match=complaint):
        FieldSettings(**change)


def test_defaults_are_allowed() -> None:
    assert FieldSettings() == FieldSettings(encoding="dense", decoder="silu")
