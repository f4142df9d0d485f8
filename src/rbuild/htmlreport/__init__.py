"""Comparisons as one self-contained HTML page: values in, text out."""

from rbuild.htmlreport.page import page
from rbuild.htmlreport.values import Condition, StageReport

__all__ = ["Condition", "StageReport", "page"]
