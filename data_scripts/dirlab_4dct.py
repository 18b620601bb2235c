"""DIR-Lab 4DCT: ten thoracic 4-D CTs, both extreme phases with 300 landmarks each.

Castillo R, Castillo E, Guerra R, Johnson VE, McPhail T, Garg AK, Guerrero T (2009), A framework for evaluation of
deformable image registration spatial accuracy using large landmark point sets, Phys Med Biol 54:1849-1870; cases 6 to
10 in Castillo E et al. (2010), Phys Med Biol 55:305-327. Sizes and spacings are those of DIR-Lab's page, with
which the public readers agree.

The archives are `Case1Pack.zip` ... and `Case8Deploy.zip`. Names vary: `Images/case1_T00_s.img`, `case2_T00-ssm.img`,
`case6_T00.img`; `ExtremePhases/Case1_300_T00_xyz.txt`, `extremePhases/case6_dirLab300_T00_xyz.txt`. The distances
between landmarks before registration are those that papers give for these cases. T00 is end-inspiration, T50
end-expiration; T00 is the fixed image, as in most papers.
"""

from __future__ import annotations

from typing import Any

import click

import nephi

from .dirlab import CaseGeometry, Collection
from .dirlab_options import dirlab_options, run
from .sources import PAGES

COLLECTION = Collection(
    name="DIR-Lab 4DCT",
    subject="case{n}",
    phases=("T00", "T50"),
    image_pattern=r"case0?{n}_{phase}([-_]s(sm)?)?\.img",
    landmark_pattern=r"case0?{n}_(dirlab)?300_{phase}_xyz\.txt",
    cases={
        1: CaseGeometry((256, 256, 94), (0.97, 0.97, 2.5)),
        2: CaseGeometry((256, 256, 112), (1.16, 1.16, 2.5)),
        3: CaseGeometry((256, 256, 104), (1.15, 1.15, 2.5)),
        4: CaseGeometry((256, 256, 99), (1.13, 1.13, 2.5)),
        5: CaseGeometry((256, 256, 106), (1.10, 1.10, 2.5)),
        6: CaseGeometry((512, 512, 128), (0.97, 0.97, 2.5)),
        7: CaseGeometry((512, 512, 136), (0.97, 0.97, 2.5)),
        8: CaseGeometry((512, 512, 128), (0.97, 0.97, 2.5)),
        9: CaseGeometry((512, 512, 128), (0.97, 0.97, 2.5)),
        10: CaseGeometry((512, 512, 120), (0.97, 0.97, 2.5)),
    },
    distances=dict(enumerate((3.89, 4.34, 6.94, 9.83, 7.48, 10.89, 11.03, 14.99, 7.92, 7.30), start=1)),
    source=nephi.datasets.DatasetSource(
        citation="Castillo R et al. (2009) Phys Med Biol 54:1849; Castillo E et al. (2010) Phys Med Biol 55:305",
        terms="Access on request; DIR-Lab's terms apply",
        page=PAGES["dirlab-4dct"],
    ),
)


@click.command(name="dirlab-4dct", short_help="DIR-Lab 4DCT: ten lungs, two phases, 300 landmarks.")
@dirlab_options
@click.option(
    "--fixed",
    type=click.Choice(["inhale", "exhale"]),
    default="inhale",
    show_default=True,
    help="Phase of the fixed image: inhale is T00, exhale T50.",
)
def dirlab_4dct(fixed: str, **options: Any) -> None:
    """Prepare DIR-Lab 4DCT from RAW, the folder of its unpacked archives (Case1Pack ... Case10Pack).

    \b
    python -m data_scripts dirlab-4dct raw/4dct -o datasets/dirlab_4dct

    Access is granted on request; `python -m data_scripts download dirlab-4dct` prints instructions.
    """
    run(COLLECTION, "dirlab-4dct", fixed, options)
