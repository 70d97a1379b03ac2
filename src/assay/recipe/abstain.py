"""When a classifier says `unknown` rather than guess."""

from typing import Annotated

from pydantic import Field

from assay.recipe.base import Settings


class AbstainSpec(Settings):
    """When a classifier answers `unknown`: at low confidence, and for out-of-distribution photos.

    Both thresholds are chosen on validation photos and stored in the bundle. Label and confidence are
    returned in any case; a client may ignore `unknown`.
    """

    enabled: bool = True
    """Choose the thresholds and store them in the bundle; otherwise the classifier never answers unknown."""
    target_precision: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Precision that the answered photos shall have. Few validation photos cannot guarantee a high one;
    training then reports the precision that they do guarantee."""
    false_alarms: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Largest share of in-distribution photos that may be reported as out of distribution."""
