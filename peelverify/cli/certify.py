"""``peelverify certify``: how wrong a compressed model is on given text, as a file that anyone can check."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from peelverify.cli import console
from peelverify.cli.inputs import block_list, new_output, window_pool
from peelverify.errors import InputError

__all__ = ["register"]


def certify_command(
    original: Annotated[str, typer.Argument(help="Model directory (safetensors) or hub id.")],
    compressed: Annotated[str, typer.Argument(help="Compressed model: directory or hub id.")],
    text: Annotated[
        list[Path] | None,
        typer.Option(help="UTF-8 text to draw windows from; may be repeated. Default: text that ships with Python."),
    ] = None,
    tokens: Annotated[int, typer.Option(help="How many tokens to draw.")] = 4096,
    window: Annotated[int, typer.Option(help="Tokens a window.")] = 128,
    tokens_of: Annotated[
        Path | None,
        typer.Option(help="Take the tokens of this certificate, so that diff can compare the two. Nothing is then said "
                     "of unseen text, and --tokens and --window do not count.", metavar="CERTIFICATE"),
    ] = None,
    kept: Annotated[
        str | None, typer.Option(help="Blocks of the original that were kept, e.g. 0,1,3.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Certificate file to write.")] = Path("model.cert.json"),
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
    compressed_dtype: Annotated[
        str | None, typer.Option(help="dtype of the compressed model, if it is another one.")
    ] = None,
    attention: Annotated[str, typer.Option(help="auto, sdpa or eager.")] = "auto",
    batch: Annotated[int, typer.Option(help="Windows a forward pass.", min=1)] = 8,
    lean: Annotated[bool, typer.Option(help="Let the Lean kernel check the arithmetic.")] = True,
    tokens_external: Annotated[
        bool, typer.Option("--tokens-external", help="Store only the hash of the tokens.")
    ] = False,
    every_input: Annotated[bool, typer.Option(help="Bound every matrix for every input.")] = True,
    stream: Annotated[
        bool | None, typer.Option(help="Read weights block by block. Default: wherever it can be done.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Certify how far COMPRESSED drifts from ORIGINAL on a text.

    With --tokens-of two copies are certified on the same tokens: without it each draw depends on the models.

    Example: peelverify certify models/base models/base-4bit --text heldout.txt --out base-4bit.cert.json
    """
    new_output(out)
    blocks = block_list(kept)
    console.say(f"certify: {original} against {compressed}")
    if tokens_of is None:
        pool, windows = window_pool(original, text, tokens=tokens, window=window)
        source: dict[str, Any] = {"pool": pool, "windows": windows}
    elif text:
        raise InputError("--text and --tokens-of exclude each other; give one of them")
    else:
        source = {"tokens": tokens_from(tokens_of)}
    from peelverify.certify import certify

    with console.progress() as bar:
        tasks: dict[str, int] = {}

        def on_progress(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        certificate = certify(
            original, compressed, **source, lean=lean, kept=blocks, dtype=dtype,
            compressed_dtype=compressed_dtype, attention=attention, batch=batch, tokens_external=tokens_external,
            every_input=every_input, stream=stream, on_progress=on_progress, on_note=console.say,
        )
    certificate.save(out)
    if json:
        console.emit_json(summary(certificate, out))
        return
    console.result(certificate.claim)
    for line in lines(certificate):
        console.result(line)
    console.table(
        "certified  the error by blocks, share of the chain rounded up; measured: parts of e_t^2 = p^2 + 2<p,d> + d^2",
        ("block", "e_t <=", "gain <=", "introduced d <=", "share <=", "p^2", "2<p,d>", "d^2"), budget(certificate),
    )
    console.result(f"lean       check = true by the kernel, by {certificate.kernel}" if certificate.kernel
                   else "lean       not asked (--no-lean); peelverify verify asks it")
    console.result(f"written    {out}")


def tokens_from(path: Path) -> list[list[int]]:
    """The token ids of a certificate.

    Raises:
        InputError: it is refuted, of another format, or stores only their hash.
    """
    from peelverify.certify import Certificate, checker, shape

    try:
        document = Certificate.load(path).document
        shape.check(document)
    except (checker.Newer, checker.Refuted) as error:
        raise InputError(f"--tokens-of needs a certificate that holds, got {path} ({error}); name another") from None
    ids = document["subject"]["tokens"].get("ids")
    if ids is None:
        raise InputError(f"--tokens-of needs a certificate with its tokens, got {path} with their hash; use --text")
    return ids


def budget(certificate: Any) -> list[tuple[str, ...]]:
    """A row for each block: its error, what it introduces, its share of the chain, and the parts of its error squared.

    Bounds and shares are rounded up. The parts are percentages of the certified squared error; as enclosures they add
    up to it exactly, and they are no bounds.
    """
    from peelverify.certify.checker import parse
    from peelverify.certify.file import above

    def part(value: Any, whole: Any) -> str:
        return f"{float(100 * value / whole):.2f} %" if whole else ""

    numbers = certificate.document["numbers"]
    shares = dict(certificate.shares)
    whole, first = certificate.chain, parse(numbers["initial_error"][1])
    rows = [("embedding", above(first), "", "", share_text(shares["embedding"], whole), "", "", "")]
    for block in numbers["blocks"]:
        (error, through, own), inner = (
            [sum(map(parse, block[key])) / 2 for key in ("error", "propagated", "introduced")],
            sum(map(parse, block["inner"])) / 2,
        )
        name = f"{block['name']} (deleted)" if block["deleted"] else block["name"]
        rows.append((
            name, above(parse(block["error"][1])), above(parse(block["gain"])), above(parse(block["introduced"][1])),
            share_text(shares[block["name"]], whole), part(through**2, error**2), part(2 * inner, error**2),
            part(own**2, error**2),
        ))
    return rows


def share_text(share: Any, whole: Any) -> str:
    """A share of the chain bound in percent, rounded up."""
    from peelverify.certify.file import above

    return f"{above(100 * share / whole, 4)} %" if whole else ""


def lines(certificate: Any) -> list[str]:
    """What a certificate says, each line with its word."""
    from peelverify.certify.checker import parse
    from peelverify.certify.file import above, between, exact_decimal

    document = certificate.document
    ratio = float(certificate.chain / certificate.direct) if certificate.direct else 1
    change, largest, smallest, kl, factor, theorem = (
        certificate.signed(name) for name in
        ("loss_change_mean", "loss_change_largest", "loss_change_smallest", "kl_mean", "perplexity_factor",
         "loss_change_theorem_mean")
    )
    same, positions = certificate.same_top
    windows, measured = document["subject"]["tokens"]["shape"][0], document["measured"]
    seen = float(measured["loss_compressed"]) - float(measured["loss_original"])
    found = [
        f"certified  logits: e_T <= {above(certificate.direct, 12)} over all tokens, <= "
        f"{above(certificate.token_direct)} at any token; portable <= {above(certificate.bound)} and <= "
        f"{above(certificate.token_bound)}",
        f"certified  chain <= {above(certificate.chain)}, {ratio:.3f} times the direct bound",
        f"certified  change of loss, nats: mean {between(*change)} (measured {seen:+.9f}), at a token from "
        f"{between(*smallest)} to {between(*largest)}",
        f"certified  by the logits' oscillation alone: mean {between(*theorem)}, of any sign <= "
        f"{above(certificate.loss_change_mean)}, at a token <= {above(certificate.loss_change_max)}",
        f"certified  perplexity factor {between(*factor)}" if factor else "certified  no perplexity factor: too large",
        f"certified  KL, nats: mean {between(*kl)}, largest {between(*certificate.signed('kl_largest'))}; loss and KL "
        f"at the {positions - windows} positions that have a next token",
        f"certified  top token kept at {same} of {positions} positions; {len(certificate.ties)} with ties",
    ]
    part = document["every_input"]
    if part:
        worst = max(part["matrices"], key=lambda row: parse(row["bound"]), default=None)
        if worst:
            run = dict.fromkeys(document["subject"][role]["dtype"] for role in ("original", "compressed"))
            found.append(
                f"certified  for every input (real arithmetic, weights as converted to {' and '.join(run)}): "
                f"{len(part['matrices'])} matrices, the worst "
                f"{worst['name']} in block {worst['block']}: output changes by <= {above(parse(worst['bound']))}"
            )
            pairs = zip(part["matrices"], measured["every_input_largest_change"], strict=True)
            ratios = [float(parse(row["bound"]) / Fraction(most)) for row, most in pairs if 0 < float(most) < math.inf]
            if ratios:
                found.append(f"measured   these bounds are {min(ratios):.3g} to {max(ratios):.3g} times (median "
                             f"{statistics.median(ratios):.3g}) the largest change on this text")
    unseen = document["unseen"]
    for level in unseen["levels"] if unseen else ():
        found.append(
            f"certified  unseen window of the pool: e_T <= {above(parse(level['error']))} and mean change of loss <= "
            f"{exact_decimal(parse(level['loss_change']), True, 6)} except with probability <= "
            f"{level['k']}/{level['of']} each, over the draw"
        )
    if unseen:
        found.append(
            f"measured   the text: {unseen['distinct_tokens']} distinct tokens, entropy "
            f"{measured['token_entropy_nats']} nats, loss of the original {measured['loss_original']} nats"
        )
    found.append(f"compared   {document['subject']['numerics']['states']}; attention "
                 f"{document['subject']['numerics']['attention']}")
    return found


def summary(certificate: Any, path: Path) -> dict:
    """The main numbers of a certificate for ``--json``; exact numbers as strings."""
    from peelverify.certify.checker import parse
    from peelverify.certify.exact import spell
    from peelverify.certify.file import above, exact_decimal

    same, positions = certificate.same_top

    def enclosed(name: str) -> list[str] | None:
        pair = certificate.signed(name)
        return None if pair is None else [exact_decimal(x, up) for x, up in zip(pair, (False, True), strict=True)]

    def enclosure(pair: list[str]) -> list[str]:
        return [exact_decimal(parse(x), up) for x, up in zip(pair, (False, True), strict=True)]

    document, shares = certificate.document, dict(certificate.shares)
    unseen = document.get("unseen")
    return {
        "schema": "peelverify.certify/1",
        "path": str(path),
        "digest_sha256": certificate.digest,
        "claim": certificate.claim,
        "logit_error_frobenius_portable_upper": above(certificate.bound, 17),
        "logit_error_frobenius_portable_upper_exact": spell(certificate.bound),
        "logit_error_frobenius_upper": above(certificate.direct, 17),
        "logit_error_frobenius_measured": certificate.measured,
        "logit_error_largest_token_portable_upper": above(certificate.token_bound, 17),
        "logit_error_largest_token_upper": above(certificate.token_direct, 17),
        "chain_upper": above(certificate.chain, 17),
        "loss_change_mean_enclosure_nats_per_token": enclosed("loss_change_mean"),
        "loss_change_largest_enclosure_nats": enclosed("loss_change_largest"),
        "loss_change_smallest_enclosure_nats": enclosed("loss_change_smallest"),
        "perplexity_factor_enclosure": enclosed("perplexity_factor"),
        "kl_mean_enclosure_nats_per_token": enclosed("kl_mean"),
        "kl_largest_enclosure_nats": enclosed("kl_largest"),
        "loss_change_mean_upper_nats_per_token": above(certificate.loss_change_mean),
        "loss_change_max_upper_nats": above(certificate.loss_change_max),
        "same_top_positions": same,
        "tied_positions": len(certificate.ties),
        "positions": positions,
        "attention": document["subject"]["numerics"]["attention"],
        "states": document["subject"]["numerics"]["states"],
        "blocks": [
            {
                "name": block["name"], "deleted": block["deleted"], "error_enclosure": enclosure(block["error"]),
                "gain_upper": above(parse(block["gain"]), 17), "propagated_enclosure": enclosure(block["propagated"]),
                "introduced_enclosure": enclosure(block["introduced"]), "inner_enclosure": enclosure(block["inner"]),
                "chain_share_upper": above(shares[block["name"]], 17),
            }
            for block in document["numbers"]["blocks"]
        ],
        "embedding_chain_share_upper": above(shares["embedding"], 17),
        "lean": certificate.kernel,
        "unseen": [
            {
                "probability_upper": [level["k"], level["of"]],
                "logit_error_frobenius_upper": above(parse(level["error"]), 17),
                "loss_change_mean_upper_nats_per_token": exact_decimal(parse(level["loss_change"]), True),
            }
            for level in unseen["levels"]
        ] if unseen else None,
        "seconds": {key: round(value, 3) for key, value in certificate.seconds.items()},
    }


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("certify")(certify_command)
