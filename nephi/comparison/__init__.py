"""Comparison of models: trained under one budget, scored on the same pairs."""

from nephi.comparison.plan import ComparisonPlan, PlannedModel, plan_comparison
from nephi.comparison.run import ComparisonResult, compare_models
from nephi.comparison.settings import (
    BudgetSettings,
    ComparedModel,
    ComparisonSettings,
    ScoringSettings,
    read_comparison_settings,
)
from nephi.comparison.table import describe_budget

__all__ = [
    "BudgetSettings",
    "ComparedModel",
    "ComparisonPlan",
    "ComparisonResult",
    "ComparisonSettings",
    "PlannedModel",
    "ScoringSettings",
    "compare_models",
    "describe_budget",
    "plan_comparison",
    "read_comparison_settings",
]
