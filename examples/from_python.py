"""From two images to a checked transform, in Python: `python from_python.py FOLDER` writes everything into FOLDER.

The pair is a phantom of breathing lungs, so the true motion is known. With scans of your own, begin at "Register".
"""

import sys
from pathlib import Path

import nephi

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "lungs")
folder.mkdir(parents=True, exist_ok=True)

# A pair: images, masks, landmarks. `shape` makes it coarse and quick; leave it out for 2.5 mm voxels.
phantom = nephi.lung_phantom(seed=0, motion=20.0, shape=(68, 50, 54))
nephi.write_image(phantom.fixed, folder / "inhale.nii.gz")
nephi.write_image(phantom.moving, folder / "exhale.nii.gz")

# Register. Files or images in memory are welcome; a progress callback is told about every step.
result = nephi.register(
    folder / "inhale.nii.gz",
    folder / "exhale.nii.gz",
    preset="lung-ct-fast",
    fixed_mask=phantom.fixed_mask,
    moving_mask=phantom.moving_mask,
    seed=0,
)

# Measure: landmarks (mm), folding and inverse consistency in the lungs.
measures = nephi.evaluate(
    result.transform, landmarks=phantom.landmarks, mask=phantom.fixed_mask, inverse=result.inverse
).table()
tre, regularity = measures["tre_mm"], measures["regularity"]
print(f"landmark error: {tre['before']:.2f} mm before, {tre['mean']:.2f} mm after")
print(f"folding in the lungs: {regularity['folding_percent']:.2f} %")
print(f"inverse consistency: {measures['inverse_consistency_mm']:.2f} mm")

# Use: the moving image and its mask on the fixed grid, fixed points in the moving image, volume change.
warped = result.warp(phantom.moving)
lungs = result.warp(phantom.moving_mask, interpolation="label")
points = phantom.landmarks.fixed.mapped(result.transform)
values, jacobians = result.transform.value_and_jacobian(phantom.landmarks.fixed.coordinates)
print(f"volume change at landmarks: {jacobians.det().min():.2f} to {jacobians.det().max():.2f}")

# Keep: transform, displacement fields, warped image, report; and a figure.
result.save(folder / "result", overwrite=True)
nephi.write_report(result, folder / "result")
nephi.overlay(result).savefig(folder / "overlay.png")
print(f"written to {folder}")
