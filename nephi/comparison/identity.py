"""What must be the same for the results of a model in an earlier comparison to be kept."""

from __future__ import annotations

from typing import Any

from nephi.comparison.folder import ModelFolder
from nephi.comparison.plan import PlannedModel
from nephi.comparison.settings import BudgetSettings, budget_table
from nephi.errors import UsageError
from nephi.training.identity import with_defaults
from nephi.training.settings_file import difference, result_settings, value_at


def model_identity(model: PlannedModel, budget: BudgetSettings, device: str) -> dict[str, Any]:
    """Return, as plain tables, what the results of a model depend on."""
    return {"budget": budget_table(budget), "settings": result_settings(model.settings), "device": device}


def check_identity(name: str, files: ModelFolder, identity: dict[str, Any]) -> None:
    """Raise `UsageError` naming the first setting in which the files of a model differ from `identity`."""
    if not files.plan.exists():
        return
    stored = files.read_plan()
    before = {part: stored.get(part) for part in identity}
    if isinstance(before["settings"], dict):
        before["settings"] = with_defaults(before["settings"])  # of settings that were added later
    setting = difference(before, identity)
    if setting is not None:
        raise UsageError(
            f"model {name}: {setting.removeprefix('settings.')}: {files.path} was computed with "
            f"{value_at(before, setting)}, the configuration has {value_at(identity, setting)}; change it back, delete "
            "that folder, or use --overwrite to delete all"
        )
