"""Copy a selection of a release into the format of another tool: CSV, WebDataset, Lance, Label Studio, FiftyOne.

from unsafe_video_dataset.export import export
export("path/to/release", "out/shards", to="webdataset", split="train")
"""

from .formats import FORMATS as FORMATS
from .report import ExportReport as ExportReport
from .run import export as export
