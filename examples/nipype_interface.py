"""`nephi register` as a Nipype interface, for use as a node of a workflow.

    from nipype import Node
    node = Node(NephiRegister(preset="lung-ct"), name="register")

It needs nephi and Nipype. `python nipype_interface.py FIXED MOVING` registers one pair and writes into `result/`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from nipype.interfaces.base import CommandLine, CommandLineInputSpec, Directory, File, TraitedSpec, isdefined, traits

FILES = {
    "transform": "transform.nephi",
    "warp": "warp.nii.gz",
    "inverse_warp": "inverse_warp.nii.gz",
    "warped_image": "warped.nii.gz",
    "report": "report.json",
}
SAVED = ("transform", "warp", "inverse", "warped", "report")


class NephiRegisterInputSpec(CommandLineInputSpec):
    """Options of `nephi register`; see `nephi register --help`."""

    fixed_image = File(exists=True, argstr="-f %s", mandatory=True, desc="image that defines the grid of the results")
    moving_image = File(exists=True, argstr="-m %s", mandatory=True, desc="image that is warped onto the fixed one")
    output_folder = Directory("result", argstr="-o %s", usedefault=True, desc="new folder for the results")
    fixed_mask = File(exists=True, argstr="--fixed-mask %s", desc="region to register, on the fixed grid")
    moving_mask = File(exists=True, argstr="--moving-mask %s", desc="the same on the moving grid")
    preset = traits.Str("generic", argstr="--preset %s", usedefault=True, desc="settings for a kind of image")
    config = File(exists=True, argstr="--config %s", desc="TOML file whose settings override the preset")
    initial = traits.Str(argstr="--initial %s", desc="auto, auto-mirrored, moments, centers, none, or an affine file")
    similarity = traits.Str(argstr="--similarity '%s'", desc="mse, ncc, lncc, lncc2, pooled, mind, nmi, or a sum")
    landmarks = File(exists=True, argstr="--landmarks %s", desc="CSV file of corresponding points for evaluation")
    seed = traits.Range(0, 2**32 - 1, argstr="--seed %d", desc="seed of the random points")
    # Not part of Nipype's hash: results do not depend on it, except for networks without latent grids.
    threads = traits.Int(1, argstr="--threads %d", usedefault=True, nohash=True, desc="CPU threads, 0 for all cores")
    page = traits.Bool(False, usedefault=True, argstr="%s", desc="also write report.html")
    overwrite = traits.Bool(argstr="--overwrite", desc="replace earlier results in the folder")


class NephiRegisterOutputSpec(TraitedSpec):
    """Files in the output folder."""

    transform = File(exists=True, desc="transform and its inverse, for the other nephi commands")
    warp = File(exists=True, desc="displacement field from fixed to moving points, LPS mm, as in ITK and ANTs")
    inverse_warp = File(exists=True, desc="displacement field from moving to fixed points")
    warped_image = File(exists=True, desc="the moving image on the fixed grid")
    report = File(exists=True, desc="settings, folding, inverse consistency, seconds, loss; JSON")


class NephiRegister(CommandLine):
    """Register a moving image to a fixed one by a neural deformation field."""

    _cmd = "nephi register --quiet"
    input_spec = NephiRegisterInputSpec
    output_spec = NephiRegisterOutputSpec

    def _format_arg(self, name: str, trait_spec: Any, value: Any) -> str:
        if name == "page":
            return f"--save {','.join((*SAVED, 'page') if value else SAVED)}"
        return str(super()._format_arg(name, trait_spec, value))

    def _list_outputs(self) -> dict[str, Any]:
        folder = self.inputs.output_folder if isdefined(self.inputs.output_folder) else "result"
        return {name: str(Path(folder).resolve() / file) for name, file in FILES.items()}


if __name__ == "__main__":
    print(NephiRegister(fixed_image=sys.argv[1], moving_image=sys.argv[2]).run().outputs)
