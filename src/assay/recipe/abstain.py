"""When a classifier says `unknown` rather than guess."""

from typing import Annotated

from pydantic import Field

from assay.recipe.base import Settings


class AbstainSpec(Settings):
    """Two reasons to say `unknown`: too little confidence, and a photo unlike those of the training part.

    Both limits are found on validation photos and travel in the bundle. The label and its confidence are
    given all the same; who asks may ignore `unknown`.
    """

    enabled: bool = True
    """Find the limits and ship them; otherwise the classifier answers every photo."""
    target_precision: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of the answers that shall be right. Few validation photos cannot prove a high one: the training
    then says which precision they do prove."""
    false_alarms: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Largest share of photos like those of the training part that may be called unlike them."""
