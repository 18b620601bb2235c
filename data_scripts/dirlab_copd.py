"""DIR-Lab COPDgene: ten pairs of inhale and exhale breath-hold CT, 300 landmarks each.

Castillo R, Castillo E, Fuentes D, Ahmad M, Wood AM, Ludwig MS, Guerrero T (2013), A reference dataset for deformable
image registration spatial accuracy evaluation using the COPDgene study archive, Phys Med Biol 58:2861-2877. Sizes and
spacings are those of DIR-Lab's page. For copd9 some public readers use 0.644 mm; 0.664 mm is the spacing of its
original DICOM series (0.664062) and yields the published mean distance of its landmarks before registration. The
distances of all ten cases were computed from the landmarks in uncbiag/robot.

Each archive has `copd1_iBHCT.img` (inhale), `copd1_eBHCT.img` (exhale), `copd1_300_iBH_xyz_r1.txt` and
`copd1_300_eBH_xyz_r1.txt`. Exhale is the fixed image, as in the papers of GradICON and NePhi and in Learn2Reg.
"""

from __future__ import annotations

from typing import Any

import click

import nephi

from .dirlab import CaseGeometry, Collection
from .dirlab_options import dirlab_options, run
from .sources import PAGES

COLLECTION = Collection(
    name="DIR-Lab COPDgene",
    subject="copd{n}",
    phases=("iBH", "eBH"),
    image_pattern=r"copd0?{n}_{phase}CT\.img",
    landmark_pattern=r"copd0?{n}_300_{phase}_xyz_r1\.txt",
    cases={
        1: CaseGeometry((512, 512, 121), (0.625, 0.625, 2.5)),
        2: CaseGeometry((512, 512, 102), (0.645, 0.645, 2.5)),
        3: CaseGeometry((512, 512, 126), (0.652, 0.652, 2.5)),
        4: CaseGeometry((512, 512, 126), (0.590, 0.590, 2.5)),
        5: CaseGeometry((512, 512, 131), (0.647, 0.647, 2.5)),
        6: CaseGeometry((512, 512, 119), (0.633, 0.633, 2.5)),
        7: CaseGeometry((512, 512, 112), (0.625, 0.625, 2.5)),
        8: CaseGeometry((512, 512, 115), (0.586, 0.586, 2.5)),
        9: CaseGeometry((512, 512, 116), (0.664, 0.664, 2.5)),
        10: CaseGeometry((512, 512, 135), (0.742, 0.742, 2.5)),
    },
    distances=dict(enumerate((26.33, 21.79, 12.64, 29.58, 30.08, 28.46, 21.60, 26.46, 14.86, 21.81), start=1)),
    source=nephi.datasets.DatasetSource(
        citation="Castillo R et al. (2013) Phys Med Biol 58:2861",
        terms="Access on request; DIR-Lab's terms apply",
        page=PAGES["dirlab-copd"],
    ),
)


@click.command(name="dirlab-copd", short_help="DIR-Lab COPDgene: ten lungs, inhale and exhale, 300 landmarks.")
@dirlab_options
@click.option(
    "--fixed",
    type=click.Choice(["inhale", "exhale"]),
    default="exhale",
    show_default=True,
    help="Phase of the fixed image.",
)
def dirlab_copd(fixed: str, **options: Any) -> None:
    """Prepare DIR-Lab COPDgene from RAW, the folder of its unpacked archives (copd1 ... copd10).

    \b
    python -m data_scripts dirlab-copd raw/copd -o datasets/dirlab_copd

    Access is granted on request; `python -m data_scripts download dirlab-copd` prints instructions.
    """
    run(COLLECTION, "dirlab-copd", fixed, options)
