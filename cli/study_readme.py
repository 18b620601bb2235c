"""The text that `nephi demo --keep` leaves in the folder of the study."""

README = """\
A synthetic study: one chest at exhale and at inhale, written by `nephi demo --keep` (seed {seed}). The pages of nephi's
documentation use these files. Nothing in it is of a patient.

The fixed image is the exhaled one, the moving image the inhaled one. The lungs move by up to 20 mm. The two grids
differ in size, spacing and position. Run these commands in the folder above this one, which is named {name}:

    nephi register -f {name}/exhale.nii.gz -m {name}/inhale.nii.gz --preset lung-ct -o result \\
        --fixed-mask {name}/exhale_lungs.nii.gz --moving-mask {name}/inhale_lungs.nii.gz
    nephi evaluate -t result/transform.nephi --landmarks {name}/landmarks.csv

Images

    exhale.nii.gz, inhale.nii.gz                CT, Hounsfield units
    exhale_mr.nii.gz, inhale_mr.nii.gz          the same chest in another contrast, like a T1-weighted MR
    exhale_lungs.nii.gz, inhale_lungs.nii.gz    masks of the lungs
    exhale_labels.nii.gz, inhale_labels.nii.gz  label maps: 1 right lung, 2 left lung
    labels.txt                                  names of the labels, as ITK-SNAP writes them
    exhale_dicom/, inhale_dicom/                the CT as DICOM series

Landmarks: 300 points in the lungs at exhale, and the exact points at inhale

    landmarks.csv, landmarks_ras.csv            pairs, mm, in LPS and in RAS
    exhale_points.csv, inhale_points.csv        one file for each image, LPS
    points/exhale.mrk.json, .fcsv               markups of 3-D Slicer; so for inhale, here and below
    points/exhale.pts                           point file of elastix
    points/exhale_dirlab.txt                    voxel indices counted from 1, as DIR-Lab has them: rounded

Transforms from exhale to inhale points, in the files of other tools; computed from the true motion and written by nephi

    transforms/ants_0GenericAffine.mat          affine map, as ANTs writes it
    transforms/ants_1Warp.nii.gz                what is left after it: `-t ants_1Warp.nii.gz -t ants_0GenericAffine.mat`
    transforms/ants_1InverseWarp.nii.gz         its inverse
    transforms/TransformParameters.0.txt        affine map, as elastix writes it
    transforms/TransformParameters.1.txt        B-splines of 20 mm after it; both together: this file
    transforms/slicer_linear.tfm                affine map, as 3-D Slicer saves it
    transforms/slicer_warp.nii.gz               displacement field of 3-D Slicer, RAS
    transforms/slicer.h5                        ITK composite with a field of half the resolution
    transforms/greedy_affine.mat                affine map, as greedy writes it (c3d's matrices are the same)
    transforms/flirt.mat                        affine map, as FLIRT of FSL writes it

A 2-D pair, in plane/

    fixed.nii.gz, moving.nii.gz                 images, on different grids
    fixed_mask.nii.gz, moving_mask.nii.gz       masks
    fixed_one.nii.gz, fixed_two.nii.gz          two channels that show different parts; so for moving
    landmarks.csv                               200 pairs, mm

A data set for trainings, in shapes/

    dataset.json                                the index: {train} subjects to train, {val} to validate, {test} to test
    images/, labels/                            2-D images of triangles and circles, 64 x 64 pixels, and their insides
"""
