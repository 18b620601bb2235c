"""Run by a Python that has keymorph: registers a pair with networks of random weights.

    python published_keymorph.py FOLDER NAME...   one checkpoint NAME.pth.tar, and NAME.safetensors, for each network
    python published_keymorph.py FOLDER small     keymorph.safetensors, small networks, as `tests/models/published`

`FOLDER/images.safetensors` has `fixed` and `moving` (1, 1, x, y, z), values from 0 to 1. See `test_published.py`.
"""

# Of the environment of the published packages, which has none of nephi's tools.
# mypy: ignore-errors

import argparse
import sys
from pathlib import Path

import torch
from keymorph import net
from keymorph.model import KeyMorph
from keymorph.net import ConvNet
from keymorph.unet3d.model import TruncatedUNet3D, UNet3D
from keymorph.utils import align_img
from safetensors.torch import load_file, save_file

UNET = {"final_sigmoid": False, "f_maps": 32, "layer_order": "gcr", "num_groups": 8, "is_segmentation": False}
NETWORKS = {  # backbone, weighting
    "conv": (lambda: ConvNet(3, 1, 16, norm_type="instance"), None),
    "conv-none": (lambda: ConvNet(3, 1, 16, norm_type="none"), "power"),
    "conv-group": (lambda: ConvNet(3, 1, 16, norm_type="group"), "power"),
    "conv-batch": (lambda: ConvNet(3, 1, 16, norm_type="batch"), "power"),
    "unet": (lambda: UNet3D(1, 16, num_levels=3, **UNET), None),
    "truncatedunet": (lambda: TruncatedUNet3D(1, 16, 1, num_levels=4, **UNET), "power"),
}


def randomise(network):
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm3d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 2)
            if getattr(layer, "weight", None) is not None and "Norm" in type(layer).__name__:
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.2)


def register(folder, name, images):
    torch.manual_seed(0)
    make, weighting = NETWORKS[name]
    backbone = torch.nn.DataParallel(make())
    randomise(backbone)
    arguments = argparse.Namespace(norm_type=name.split("-")[-1] if "-" in name else "instance", folder=folder)
    content = {"epoch": 1, "args": arguments, "state_dict": backbone.state_dict(), "optimizer": {}}
    torch.save(content, folder / f"{name}.pth.tar")
    model = KeyMorph(backbone, 16, 3, weight_keypoints=weighting).eval()
    fixed, moving = images["fixed"], images["moving"]
    with torch.no_grad():
        chosen = ["affine"] if weighting else ["rigid", "affine", "tps_0", "tps_0.1", "tps_10"]
        results = model(fixed, moving, transform_type=chosen, return_aligned_points=False)
    tensors = {}
    for kind, result in results.items():
        tensors[f"{kind}.grid"] = result["grid"].contiguous()
        tensors[f"{kind}.warped"] = align_img(result["grid"], moving)
        tensors["fixed_points"], tensors["moving_points"] = result["points_f"], result["points_m"]
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, folder / f"{name}.safetensors")


def register_small(folder):
    torch.manual_seed(2)
    images = torch.rand(2, 1, 5, 4, 6)
    fixed, moving = torch.nn.functional.interpolate(images, size=(32, 36, 40), mode="trilinear").split(1)
    net.h_dims = [8] * 8
    small = {**UNET, "f_maps": [8, 16, 16]}
    tensors = {"images": images}
    for name, backbone in (
        ("conv", ConvNet(3, 1, 8, norm_type="group")),
        ("truncatedunet", TruncatedUNet3D(1, 8, 1, num_levels=3, **small)),
    ):
        randomise(backbone)
        model = KeyMorph(backbone, 8, 3).eval()
        with torch.no_grad():
            results = model(fixed, moving, transform_type=["affine", "tps_0.1"], return_aligned_points=False)
        for kind, result in results.items():
            tensors[f"{name}.{kind}"] = result["grid"][:, ::8, ::8, ::8]
            tensors[f"{name}.points"] = torch.cat([result["points_f"], result["points_m"]])
        tensors |= {f"{name}.weights.{key}": value for key, value in backbone.state_dict().items()}
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(tensors, folder / "keymorph.safetensors")


if __name__ == "__main__":
    if sys.argv[2:] == ["small"]:
        register_small(Path(sys.argv[1]))
        sys.exit()
    for name in sys.argv[2:]:
        register(Path(sys.argv[1]), name, load_file(Path(sys.argv[1]) / "images.safetensors"))
