"""What has to be the same for a training to be resumed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from nephi.datasets import DatasetIndex
from nephi.errors import UsageError
from nephi.models import StoredModel, model_bytes
from nephi.settings import plain_table
from nephi.training.settings import TrainSettings
from nephi.training.settings_file import difference, result_settings, train_settings, value_at


def run_identity(
    settings: TrainSettings, index: DatasetIndex, model: StoredModel | None, processes: int
) -> dict[str, Any]:
    """Return, as plain tables, what must be the same for a run to be resumed."""
    described = {name: value for name, value in asdict(index).items() if name not in ("folder", "source")}
    return {
        "settings": result_settings(settings),
        "data": _digest(json.dumps(plain_table(described), sort_keys=True).encode()),
        "start": "" if model is None else _digest(model_bytes(model)),
        "processes": processes,
    }


def check_identity(saved: dict[str, Any], run: dict[str, Any]) -> None:
    """Raise `UsageError` naming what differs between the run that is resumed and the arguments."""
    settings = with_defaults(saved.get("settings", {}))
    name = difference(settings, run["settings"])
    if name is not None:
        before, now = value_at(settings, name), value_at(run["settings"], name)
        raise UsageError(
            f"{name}: the run was started with {before}, the configuration has {now}; change it back, or start a new "
            "run"
        )
    messages = {
        "data": "data.index: the run was started with another data set; pass that one, or start a new run",
        "start": "model: the run was started from another model; pass that one, or start a new run",
        "processes": f"processes: the run was started with {saved.get('processes')}, there are now {run['processes']}; "
        "start as many, so that its steps hold as many pairs",
    }
    for name, message in messages.items():
        if saved.get(name) != run[name]:
            raise UsageError(message)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def with_defaults(table: dict[str, Any]) -> dict[str, Any]:
    """Return saved settings with the defaults of those that were added later."""
    try:
        return result_settings(train_settings(table))
    except UsageError:
        return table
