"""``peelverify prove --tensor``: a norm of one weight matrix, decided by the Lean kernel from its entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peelverify.cli import console
from peelverify.cli.inputs import new_output
from peelverify.cli.prove import follow
from peelverify.errors import InputError

__all__ = ["prove_tensor"]


def _weight(model: Path, name: str) -> Any:
    """One matrix of a model directory.

    Raises:
        InputError: if there is no such weight, or it is no matrix; the message names near ones.
    """
    import difflib

    from safetensors import safe_open

    from peelverify.models.load import resolve_model, weight_files

    directory = resolve_model(str(model))
    names: list[str] = []
    for path in weight_files(directory):
        with safe_open(path, framework="pt") as handle:
            here = list(handle.keys())
            if name in here:
                found = handle.get_tensor(name)
                if found.ndim != 2:
                    shape = tuple(found.shape)
                    raise InputError(f"--tensor needs a matrix, got {name} of shape {shape}; name a weight")
                return found
            names += here
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or sorted(names)[:3]
    raise InputError(f"--tensor needs a weight of {directory}, got {name!r}; did you mean {', '.join(near)}")


def prove_tensor(
    tensor: str | None,
    model: Path | None,
    against: Path | None,
    norm: str | None,
    lean_file: Path | None,
    *,
    json: bool,
) -> None:
    """Prove a bound on one weight, or on the difference of one weight in two models, and print it."""
    if tensor is None or model is None:
        raise InputError(
            "prove needs --tensor NAME and --of MODEL together; --against, --norm and --lean-file go with them"
        )
    if norm == "fro" and against is None:
        raise InputError("--norm fro needs --against MODEL: it bounds the distance of two weights")
    if lean_file is not None:
        new_output(lean_file)
    console.say(f"prove: reading {tensor}")
    from peelverify.certify import packed
    from peelverify.report.visible import upwards

    weight = _weight(model, tensor)
    other = None if against is None else _weight(against, tensor)
    if other is None:
        source = packed.pack_operator_norm(weight)
        what, theorem = "|A|_2", "PeelVerify.opNorm2Le_of_packedSpectral"
    elif norm == "op2":
        source = packed.pack_operator_norm(other, minus=weight)
        what, theorem = "|compressed - original|_2", "PeelVerify.opNorm2Le_of_packedSpectral"
    else:
        source = packed.pack_difference(weight, other)
        what, theorem = "|compressed - original|_F", "PeelVerify.frobLe_of_packed"
    console.say("prove: the Lean kernel reads every entry; seconds to minutes")
    with console.progress() as bar:
        proof = packed.prove_packed(source, follow(bar))
    if lean_file is not None:
        with lean_file.open("x", encoding="utf-8") as handle:
            handle.write(source.text)
    rows, columns = source.shape
    if json:
        console.emit_json(
            {
                "schema": "peelverify.prove_tensor/1",
                "tensor": tensor,
                "rows": rows,
                "columns": columns,
                "norm": what,
                "bound": str(source.bound),
                "theorem": theorem,
                "lean_seconds": round(proof.seconds, 3),
                "toolchain": proof.toolchain,
                "lean_file": None if lean_file is None else str(lean_file),
            }
        )
        return
    console.result(f"weight      {tensor}, {rows} x {columns}")
    console.result(f"proved      {what} <= {upwards(source.bound)}, for the stored entries")
    console.result(f"theorem     {theorem}")
    console.result(f"lean        {proof.toolchain}; {proof.seconds:.1f} s")
    if lean_file is not None:
        console.result(f"file        {lean_file}")
