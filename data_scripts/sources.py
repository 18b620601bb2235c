"""Where the data sets are, and what a person has to do before a script can help."""

from __future__ import annotations

from dataclasses import dataclass

_EMORY = (
    "https://med.emory.edu/departments/radiation-oncology/research-laboratories/deformable-image-registration/"
    "downloads-and-reference-data"
)
PAGES = {
    "dirlab-4dct": f"{_EMORY}/4dct.html",
    "dirlab-copd": f"{_EMORY}/copdgene.html",
    "learn2reg": "https://learn2reg.grand-challenge.org/Datasets/",
}


@dataclass(frozen=True)
class Source:
    """A data set on the network. Without a `url` a person has to fetch it, as `steps` tells.

    `checksum` is what its publisher gives, as pooch writes it (`md5:...`, `sha256:...`); None where none is published.
    """

    page: str
    steps: str
    url: str | None = None
    checksum: str | None = None


_DIRLAB = (
    "ask DIR-Lab for access on that page (www.dir-lab.com leads there, too), download the archive of each case, unpack "
    "them all into {folder}, and run: python -m data_scripts {name} {folder} -o DATASET"
)
_LEARN2REG = (
    "accept the terms on that page, download {task}, unpack it into {folder}, and run: "
    "python -m data_scripts learn2reg {folder}/{task} -o DATASET"
)

SOURCES = {
    "dirlab-4dct": Source(PAGES["dirlab-4dct"], _DIRLAB),
    "dirlab-copd": Source(PAGES["dirlab-copd"], _DIRLAB),
    # The address behind the link on the page, as three public projects have it; no checksum is published.
    "nlst": Source(
        PAGES["learn2reg"],
        _LEARN2REG.replace("{task}", "NLST"),
        url="https://cloud.imi.uni-luebeck.de/s/pERQBNyEFNLY8gR/download/NLST2023.zip",
    ),
    "lungct": Source(PAGES["learn2reg"], _LEARN2REG.replace("{task}", "LungCT")),
    "oasis": Source(PAGES["learn2reg"], _LEARN2REG.replace("{task}", "OASIS")),
}
