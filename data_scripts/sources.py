"""Addresses of the data sets, and the steps that a user has to take."""

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
    """A data set on the network. Without a `url` the user has to obtain it, by following `steps`.

    `checksum` is the published one in pooch's notation (`md5:...`, `sha256:...`); None where none is published.
    """

    page: str
    steps: str
    url: str | None = None
    checksum: str | None = None


_DIRLAB = (
    "request access from DIR-Lab on that page (also reached from www.dir-lab.com), download the archive of each case, "
    "unpack all of them in {folder}, and run: python -m data_scripts {name} {folder} -o DATASET"
)
_LEARN2REG = (
    "accept the terms on that page, download {task}, unpack it in {folder}, and run: "
    "python -m data_scripts learn2reg {folder}/{task} -o DATASET"
)

SOURCES = {
    "dirlab-4dct": Source(PAGES["dirlab-4dct"], _DIRLAB),
    "dirlab-copd": Source(PAGES["dirlab-copd"], _DIRLAB),
    # The address of the link on the page, also in three public projects; no checksum is published.
    "nlst": Source(
        PAGES["learn2reg"],
        _LEARN2REG.replace("{task}", "NLST"),
        url="https://cloud.imi.uni-luebeck.de/s/pERQBNyEFNLY8gR/download/NLST2023.zip",
    ),
    "lungct": Source(PAGES["learn2reg"], _LEARN2REG.replace("{task}", "LungCT")),
    "oasis": Source(PAGES["learn2reg"], _LEARN2REG.replace("{task}", "OASIS")),
}
