"""The report: one HTML file that stands alone, opens without a network and runs no script."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from peelverify import __version__
from peelverify.certify.file import Certificate
from peelverify.certify.verification import Verification
from peelverify.errors import ArtifactError
from peelverify.lean.pages import formula
from peelverify.report import plots
from peelverify.report.parts import present_parts
from peelverify.report.present import WORDS, base_name, present_pair
from peelverify.report.results import present_peel, present_ranking, present_rho
from peelverify.report.visible import visible

__all__ = ["Pair", "render_report", "write_report"]


@dataclass(frozen=True)
class Pair:
    """An original and a compressed model.

    Attributes:
        certificate: how far they differ.
        verification: what was checked of the certificate.
        record: ``peelverify.json`` of the compressed model; None if it has none.
        path: where the certificate file lies, relative to the report.
    """

    certificate: Certificate
    verification: Verification
    record: Mapping[str, Any] | None = None
    path: str = ""


def _field(item: Any, *names: str) -> str:
    """First of several keys or attributes that an object has, as text."""
    for name in names:
        value = item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)
        if value not in (None, ""):
            return str(value)
    return ""


def _stated(theorems: Any) -> dict[str, str]:
    """Name -> hash of the statement, from the list in a certificate."""
    if isinstance(theorems, Mapping):
        return {str(k): str(v) for k, v in theorems.items()}
    return {_field(t, "name"): _field(t, "sha256") for t in theorems}


def _theorem_rows(pairs: Iterable[dict[str, Any]], theorems: Iterable[Any]) -> dict[str, list[dict[str, Any]]]:
    """Theorems that certificates name, and all others of the index."""
    index = {_field(t, "name"): t for t in theorems}
    used: dict[str, str] = {}
    for pair in pairs:
        used |= _stated(pair["theorems"])
    rows = [
        {
            "name": name,
            "used": name in used,
            "sha256": used.get(name) or _field(index.get(name), "statement_hash", "sha256"),
            "here": name in index,
            "doc": _field(index.get(name), "doc").replace("`", ""),
            "statement": _field(index.get(name), "statement"),
            "formula": name in used and used[name] == _field(index.get(name), "statement_hash", "sha256"),
        }
        for name in [*used, *sorted(n for n in index if n and n not in used)]
    ]
    return {"used": [r for r in rows if r["used"]], "others": [r for r in rows if not r["used"]]}


@functools.cache
def mathml(name: str) -> Markup:
    """Formula of a theorem as MathML, which a browser lays out without script or network; empty if it has none."""
    from latex2mathml.converter import convert

    latex = formula(name)
    # inside HTML the namespace is implied, and a page without any address is easier to trust
    return Markup(convert(latex, xmlns="", display="block").replace(' xmlns=""', "") if latex else "")


def _plain_rows(data: Mapping[str, Any], skip: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The scalars of a JSON object as labels and text; paths lose their folders."""
    rows = []
    for key, value in data.items():
        if key in skip or value is None or isinstance(value, (dict, list, tuple)):
            continue
        text = base_name(value) if isinstance(value, (str, os.PathLike)) and os.path.isabs(value) else str(value)
        rows.append((str(key).replace("_", " "), f"{value:,}" if type(value) is int else text))
    return rows


@functools.cache
def _environment() -> jinja2.Environment:
    def finalize(value: Any) -> Any:
        if value is None:
            return ""
        return value if isinstance(value, Markup) else visible(value, limit=4000)

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("peelverify.report", "templates"), autoescape=True, finalize=finalize,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )
    found.filters["svg"] = lambda plot: Markup(plots.to_svg(plot))
    found.filters["base"] = base_name
    found.filters["mathml"] = mathml
    return found


def render_report(
    *,
    model: Mapping[str, Any],
    peel: Mapping[str, Any] | None,
    rho: Mapping[str, Any] | None,
    ranking: Mapping[str, Any] | None,
    pairs: Sequence[Pair],
    theorems: Sequence[Any],
    lean: Mapping[str, Any],
) -> str:
    """The page as text; see `write_report`."""
    shown = [
        present_pair(p.certificate, p.verification, p.record, p.path, i) | {"parts": present_parts(p.certificate)}
        for i, p in enumerate(pairs, start=1)
    ]
    name = base_name(model.get("name") or (shown[0]["original"] if shown else "model"))
    return _environment().get_template("report.html.j2").render(
        version=__version__,
        words=WORDS,
        name=name,
        model_rows=_plain_rows(model, skip=("name", "schema")),
        peel=present_peel(peel) if peel else None,
        rho=present_rho(rho) if rho else None,
        ranking=present_ranking(ranking) if ranking else None,
        pairs=shown,
        theorems=_theorem_rows(shown, theorems),
        lean_rows=_plain_rows(lean, skip=("schema",)),
    )


def write_report(
    out: str | os.PathLike[str],
    *,
    model: Mapping[str, Any],
    peel: Mapping[str, Any] | None = None,
    rho: Mapping[str, Any] | None = None,
    ranking: Mapping[str, Any] | None = None,
    pairs: Sequence[Pair] = (),
    theorems: Sequence[Any] = (),
    lean: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``report/index.html`` in one step, replacing an older one.

    Args:
        out: folder of the run; ``report`` is made inside it.
        model: facts of the original: ``name`` and any scalars (family, blocks, width, parameters, tokens).
        peel: JSON object of ``peelverify peel``.
        rho: JSON object of ``peelverify rho``.
        ranking: JSON object of ``peelverify rank``.
        pairs: certified pairs.
        theorems: entries of the theorem index, with ``name``, ``statement``, ``doc`` and a hash; may be empty.
        lean: ``version``, ``road`` and other scalars on the toolchain.

    Returns:
        The file. It needs no network and no script.

    Raises:
        ArtifactError: if the file cannot be written; an older report is then still whole.
    """
    page = render_report(
        model=model, peel=peel, rho=rho, ranking=ranking, pairs=pairs, theorems=theorems, lean=lean or {}
    )
    target = Path(out) / "report" / "index.html"
    part = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=".index.", suffix=".partial", dir=target.parent)
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(page)
        os.chmod(part, 0o644)
        os.replace(part, target)
        part = None
    except OSError as error:
        raise ArtifactError(f"{target} cannot be written ({error.strerror}); choose another folder") from error
    finally:
        if part is not None:
            Path(part).unlink(missing_ok=True)
    return target
