"""Task scores by lm-eval, where it is installed: ``pip install 'peelverify[lm-eval]'``."""

from __future__ import annotations

import importlib
import math
from typing import Any

from torch import nn

from peelverify.errors import ArtifactError, DomainError, InputError, ToolchainError
from peelverify.evaluate.stream import as_view
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = ["TaskScore", "task_scores"]

TaskScore = dict[str, Any]
"""``task``, ``metric``, ``filter``, ``value``, ``standard_error`` (or None), ``samples``, ``version``."""


def _lm_eval() -> tuple[Any, Any]:
    try:
        return importlib.import_module("lm_eval"), importlib.import_module("lm_eval.models.huggingface")
    except ImportError as error:
        raise ToolchainError(
            f"task scores need lm-eval, got: {error}; install it with pip install 'peelverify[lm-eval]'"
        ) from error


@measured("task scores on sampled items")
def task_scores(
    model: ModelView | nn.Module,
    tokenizer: Any,
    tasks: list[str],
    *,
    limit: int | None = None,
    include_path: str | None = None,
    batch: int = 8,
) -> list[TaskScore]:
    """Score a decoder on tasks of lm-eval.

    Args:
        model: a decoder.
        tokenizer: its tokenizer; one without a first and a last token starts an empty context with a line break.
        tasks: names that lm-eval knows, or finds under ``include_path``.
        limit: items a task; None for all. Scores on a few hundred items differ by points from chance alone.
        include_path: folder with task files of your own.
        batch: windows a forward pass.

    Returns:
        One row a task, filter and metric.

    Raises:
        ToolchainError: lm-eval is not installed.
        InputError: no task, or one that lm-eval does not know. DomainError: limit or batch below 1.
        ArtifactError: lm-eval could not run, for instance because a data set is not on this machine.
    """
    if not tasks:
        raise InputError("task_scores needs at least one task, got none; name one that lm-eval knows")
    if (limit is not None and limit < 1) or batch < 1:
        raise DomainError(f"task_scores needs limit and batch of at least 1, got {limit} and {batch}")
    package, huggingface = _lm_eval()
    view = as_view(model)
    manager = importlib.import_module("lm_eval.tasks").TaskManager(include_path=include_path)
    unknown = [name for name in tasks if name not in manager.all_tasks]
    if unknown:
        raise InputError(f"task_scores needs tasks that lm-eval knows, got {unknown[0]!r}; see lm_eval ls tasks")
    start = next((t for t in (tokenizer.bos_token_id, tokenizer.eos_token_id) if t is not None), None)
    if start is None:  # lm-eval puts a token before an empty context; without a special one a line break serves
        start = tokenizer("\n", add_special_tokens=False).input_ids[-1]
    wrapped = huggingface.HFLM(
        pretrained=view.model, tokenizer=tokenizer, batch_size=batch, prefix_token_id=start
    )
    try:
        found = package.simple_evaluate(
            model=wrapped, tasks=list(tasks), limit=limit, task_manager=manager, bootstrap_iters=1000,
            log_samples=False, verbosity="ERROR",
        )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # any failure of the other program, SystemExit and panics too, told in one line
        reason = f"{type(error).__name__}: {error}"
        raise ArtifactError(f"lm-eval stopped ({reason}); check the task and its data") from error
    rows = []
    for task in sorted(found["results"]):
        values = found["results"][task]
        for key, value in values.items():
            metric, comma, how = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, (int, float)):
                continue
            error = values.get(f"{metric}_stderr,{how}")
            usable = isinstance(error, (int, float)) and math.isfinite(error)
            rows.append(
                {
                    "task": task, "metric": metric, "filter": how, "value": float(value),
                    "standard_error": float(error) if usable else None,
                    "samples": found.get("n-samples", {}).get(task, {}).get("effective"),
                    "version": found.get("versions", {}).get(task),
                }
            )
    return rows
