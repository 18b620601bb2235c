"""Register two images and evaluate the transform: `python from_python.py FOLDER` writes everything into FOLDER.

The pair is a synthetic lung CT, so the true motion is known. For your own scans start at "Register".
"""

import sys
from pathlib import Path

import nephi

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "lungs")
folder.mkdir(parents=True, exist_ok=True)

# A pair: images, masks, landmarks. `shape` makes it coarse and fast; omit it for 2.5 mm voxels.
phantom = nephi.phantoms.lung_phantom(seed=0, motion=20.0, shape=(68, 50, 54))
nephi.write_image(phantom.fixed, folder / "inhale.nii.gz")
nephi.write_image(phantom.moving, folder / "exhale.nii.gz")

# Register. Images are files or `nephi.Image`; the argument `progress` takes a callback for every step.
result = nephi.register(
    folder / "inhale.nii.gz",
    folder / "exhale.nii.gz",
    preset="lung-ct-fast",
    fixed_mask=phantom.fixed_mask,
    moving_mask=phantom.moving_mask,
    seed=0,
)

# Evaluate: landmark errors (mm), folding and inverse consistency in the lungs.
measures = nephi.evaluate(
    result.transform, landmarks=phantom.landmarks, mask=phantom.fixed_mask, inverse=result.inverse
).table()
tre, regularity = measures["tre_mm"], measures["regularity"]
print(f"landmark error: {tre['before']:.2f} mm before, {tre['mean']:.2f} mm after")
print(f"folding in the lungs: {regularity['folding_percent']:.2f} %")
print(f"inverse consistency: {measures['inverse_consistency_mm']:.2f} mm")

# Apply: warp the moving image and its mask, map fixed points to the moving image, compute the change of volume.
warped = result.warp(phantom.moving)
lungs = result.warp(phantom.moving_mask, interpolation="label")
points = phantom.landmarks.fixed.mapped(result.transform)
values, jacobians = result.transform.value_and_jacobian(phantom.landmarks.fixed.coordinates)
print(f"volume change at landmarks: {jacobians.det().min():.2f} to {jacobians.det().max():.2f}")

# Save: transform, displacement fields, warped image, report, and a figure.
result.save(folder / "result", overwrite=True)
nephi.write_report(result, folder / "result")
nephi.overlay(result).savefig(folder / "overlay.png")
print(f"written to {folder}")
