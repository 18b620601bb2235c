"""Run by a Python that has icon-registration and unigradicon: registers pairs with networks of random weights.

    python published_icon.py pair FOLDER       fixed.nii.gz and moving.nii.gz by uniGradICON: weights, points, warped
    python published_icon.py small FOLDER      small networks of all operators, 2-D and 3-D, as `tests/models/published`

See `test_published.py`.
"""

# Of the environment of the published packages, which has none of nephi's tools.
# mypy: ignore-errors

import sys
from pathlib import Path

import icon_registration as icon
import itk
import numpy as np
import torch
import unigradicon
from icon_registration import itk_wrapper, networks

SHAPE = (66, 70, 75)  # z, y, x of the network's input: the least that its poolings allow is 65


def randomise(network, seed):
    """Draw statistics of all normalisation layers, and the last layers, which are zero in new networks."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.5, 2)
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.2)
        for name, parameter in network.named_parameters():
            if "lastConv" in name:
                parameter.normal_(0, 0.01)


def register_pair(folder):
    torch.manual_seed(0)
    network = unigradicon.make_network([1, 1, *SHAPE], include_last_step=True)
    randomise(network, 1)
    torch.save(network.regis_net.state_dict(), folder / "weights.trch")
    network.assign_identity_map([1, 1, *SHAPE])
    network.eval()
    images = [itk.imread(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving")]
    fixed, moving = (unigradicon.preprocess(image, "ct") for image in images)
    transform, _ = itk_wrapper.register_pair(network, moving, fixed, finetune_steps=None)
    resampled = itk.resample_image_filter(
        images[1],
        transform=transform,
        interpolator=itk.LinearInterpolateImageFunction.New(images[1]),
        size=itk.size(images[0]),
        output_spacing=itk.spacing(images[0]),
        output_direction=images[0].GetDirection(),
        output_origin=itk.origin(images[0]),
    )
    itk.imwrite(resampled, str(folder / "warped.nii.gz"))
    generator = np.random.default_rng(2)
    indices = generator.integers(0, np.array(SHAPE[::-1]), (2000, 3))
    points = [list(images[0].TransformIndexToPhysicalPoint([int(i) for i in index])) for index in indices]
    np.save(folder / "points.npy", np.array(points))
    np.save(folder / "mapped.npy", np.array([list(transform.TransformPoint(point)) for point in points]))


def small_network(dimension):
    def unet():
        return icon.FunctionFromVectorField(networks.UNet2(2, [[2, 4, 8], [3, 4]], dimension))

    first = icon.DownsampleRegistration(unet(), dimension)
    return icon.TwoStepRegistration(icon.TwoStepRegistration(first, unet()), unet())


def register_small(folder):
    for dimension, shape in ((2, (21, 16)), (3, (9, 8, 11))):
        torch.manual_seed(3)
        network = small_network(dimension)
        randomise(network, 4)
        network.assign_identity_map([1, 1, *shape])
        network.eval()
        fixed, moving = (torch.rand(1, 1, *shape) for _ in range(2))
        with torch.no_grad():
            phi = network(moving, fixed)(network.identity_map)
        maps = {"fixed": fixed, "moving": moving, "phi": phi}
        state = {f"weights.{name}": tensor for name, tensor in network.state_dict().items()}
        from safetensors.torch import save_file

        save_file({**maps, **state}, folder / f"gradicon-{dimension}d.safetensors")


if __name__ == "__main__":
    {"pair": register_pair, "small": register_small}[sys.argv[1]](Path(sys.argv[2]))
