from .dataset import DataSet, Published, Source
from .load import DATASETS, load_clips

__all__ = ["DATASETS", "DataSet", "Published", "Source", "load_clips"]
