"""The public names of nephi, each listed once: type checkers read them in this file, `__init__.py` loads them from it.

The top level is what a user of registrations needs; the rest stands one level down, in the rooms at the end.
"""

# Register, predict, evaluate
from .optimize import register as register
from .optimize import plan as plan
from .inference import predict as predict
from .metrics import evaluate as evaluate
from .results import Quality as Quality
from .results import Registration as Registration

# Settings
from .settings import Settings as Settings
from .settings import preset as preset
from .settings import preset_names as preset_names
from .settings import read_settings as read_settings

# Images and grids
from .geometry import Grid as Grid
from .images import Image as Image
from .io import read_image as read_image
from .io import write_image as write_image
from .results import resample as resample

# Points
from .geometry import Points as Points
from .geometry import PointPairs as PointPairs
from .io import read_points as read_points
from .io import write_points as write_points
from .io import read_point_pairs as read_point_pairs
from .io import write_point_pairs as write_point_pairs

# Transforms
from .transforms import Transform as Transform
from .transforms import AffineTransform as AffineTransform
from .transforms import DisplacementField as DisplacementField
from .transforms import Composite as Composite
from .transforms import invert as invert
from .results import read_transform as read_transform
from .results import read_inverse as read_inverse
from .io import export_transform as export_transform

# Measures and pictures
from .metrics import jacobian_image as jacobian_image
from .metrics import landmark_errors as landmark_errors
from .report import overlay as overlay
from .report import write_report as write_report
from .report import Viewer as Viewer

# Trained models
from .models import read_model as read_model
from .training import train as train

# Errors and warnings
from .errors import NephiError as NephiError
from .errors import UsageError as UsageError
from .errors import DataError as DataError
from .errors import PlausibilityError as PlausibilityError
from .errors import QualityError as QualityError
from .errors import DataWarning as DataWarning
from .errors import PlausibilityWarning as PlausibilityWarning

# Rooms: `nephi.io.read_series`, `nephi.phantoms.lung_phantom` ...
from . import comparison as comparison
from . import datasets as datasets
from . import errors as errors
from . import fields as fields
from . import geometry as geometry
from . import images as images
from . import inference as inference
from . import io as io
from . import losses as losses
from . import metrics as metrics
from . import models as models
from . import optimize as optimize
from . import phantoms as phantoms
from . import report as report
from . import results as results
from . import runtime as runtime
from . import settings as settings
from . import training as training
from . import transforms as transforms

__version__: str
