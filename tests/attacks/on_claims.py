"""Consistent fabrications: the checker alone cannot refute them. Each gives a certificate as data."""

from __future__ import annotations

import copy
from fractions import Fraction

from peelverify.certify import checker
from peelverify.certify.checker import parse
from peelverify.certify.exact import spell
from tests.attacks.forge import rederive, scaled, seal
from tests.attacks.registry import attack


@attack("recompute")
def everything_an_eighth(d):
    """All errors, gains, bounds and changes of loss lowered together."""
    return rederive(scaled(d, -3))


@attack("recompute")
def everything_eight_times(d):
    """All of them raised together: a rival is made to look worse."""
    return rederive(scaled(d, 3))


@attack("recompute")
def another_tensor_as_the_middle_state(d):
    """Another tensor in place of f_t at the compressed state: a block hands its own error to the blocks before it."""
    block = d["numbers"]["blocks"][1]
    small = Fraction(1, 1 << 60)
    block["propagated"] = list(block["error"])
    block["introduced"] = [spell(small)] * 2
    block["inner"] = [spell(-small * parse(block["error"][1])), spell(small * parse(block["error"][0]))]
    return rederive(d)


@attack("recompute")
def models_swapped(d):
    """Original and compressed model change places, with the seed and the draw that follow."""
    s = d["subject"]
    s["original"], s["compressed"] = s["compressed"], s["original"]
    return rederive(d)


@attack("recompute")
def hashes_of_other_files(d):
    """The certificate of one compressed model with the hashes of another."""
    files = d["subject"]["compressed"]["files"]
    files["model.safetensors"] = "a" * 64
    return rederive(d)


@attack("recompute")
def a_file_left_out_of_the_list(d):
    """The configuration is not named, so that another one could be used."""
    del d["subject"]["compressed"]["files"]["config.json"]
    return rederive(d)


@attack("recompute")
def all_top_tokens_the_same(d):
    """Every position is said to keep its top token."""
    for row in d["numbers"]["units"]["windows"]:
        row["same_top"], row["tied_at"] = d["subject"]["tokens"]["shape"][1], []
    return rederive(d)


@attack("recompute")
def loss_improved(d):
    """The change of loss of every window with its sign turned round."""
    for row in d["numbers"]["units"]["windows"]:
        for key in ("loss_change", "loss_change_theorem"):
            row[key] = [spell(-parse(x)) for x in reversed(row[key])]
        most, least = row["loss_change_largest"], row["loss_change_smallest"]
        row["loss_change_smallest"] = [spell(-parse(x)) for x in reversed(most)]
        row["loss_change_largest"] = [spell(-parse(x)) for x in reversed(least)]
    return rederive(d)


@attack("recompute")
def no_divergence(d):
    """A divergence of zero in every window."""
    for row in d["numbers"]["units"]["windows"]:
        row["kl"] = row["kl_largest"] = ["0x0p+0", "0x0p+0"]
    return rederive(d)


@attack("recompute")
def oscillations_lowered(d):
    """The bound on the change of loss of every token lowered by a sixteenth, where the signed figures leave room."""
    for row in d["numbers"]["units"]["windows"]:
        for key in ("oscillation_max", "oscillation_sum"):
            row[key] = spell(checker.round_up(parse(row[key]) * Fraction(15, 16)))
        row["loss_change_theorem"] = list(row["loss_change"])
    return rederive(d)


@attack("recompute")
def matrices_of_half_the_norm(d):
    """Bounds for every input with half the operator norm."""
    for row in d["every_input"]["matrices"]:
        row["operator"] = spell(parse(row["operator"]) / 2)
    return rederive(d)


@attack("recompute")
def matrix_left_out(d):
    """The matrix with the worst bound for every input is not listed."""
    rows = d["every_input"]["matrices"]
    rows.remove(max(rows, key=lambda row: parse(row["bound"])))
    return rederive(d)


@attack("recompute")
def pool_made_up(d):
    """Windows chosen by hand, and a pool of which nobody has seen the text, with a seed and a draw that fit."""
    d["subject"]["pool"] |= {"sha256": "b" * 64, "windows": 5000, "files": {"all.txt": "c" * 64}}
    return rederive(d)


@attack("recompute")
def pool_larger_than_it_is(d):
    """The pool is said to hold more windows."""
    d["subject"]["pool"]["windows"] += 1000
    return rederive(d)


@attack("recompute")
def errors_of_the_windows_moved(d):
    """The error of the worst window is spread over the others, which lowers the bound for unseen text."""
    rows = d["numbers"]["units"]["windows"]
    squares = sum(parse(row["error"][1]) ** 2 for row in rows) / len(rows)
    x = Fraction(float(squares) ** 0.5)
    for row in rows:
        row["error"] = [spell(checker.round_down(x * (1 - Fraction(1, 2**34)))),
                        spell(checker.round_up(x * (1 + Fraction(1, 2**34))))]
    return rederive(d)


@attack("recompute")
def other_tokens(d):
    """The numbers of one text with another one, all the same token."""
    tokens = d["subject"]["tokens"]
    tokens["ids"] = [[32] * tokens["shape"][1] for _ in range(tokens["shape"][0])]
    tokens["sha256"] = checker.digest(tokens["ids"])
    return rederive(d)


@attack("recompute")
def a_wide_margin_for_lower_errors(d):
    """Errors an eighth, and re-runs so far apart that the margin covers the true ones: an earlier version took that."""
    d = scaled(d, -3)
    last = parse(d["numbers"]["blocks"][-1]["error"][1])
    rerun = copy.deepcopy(d["numbers"]["reruns"][0])
    rerun["error"] = [spell(last * 32)] * 2
    rerun["token_max"] = [spell(parse(d["numbers"]["blocks"][-1]["token_max"][1]) * 32)] * 2
    d["numbers"]["reruns"].append(rerun)
    return rederive(d)


@attack("recompute")
def measured_losses_made_prettier(d):
    """The measured loss of both models one nat lower."""
    for key in ("loss_original", "loss_compressed"):
        d["measured"][key] = f"{float(d['measured'][key]) - 1:.9f}"
    return seal(d)


@attack("recompute")
def entropy_of_the_text_made_up(d):
    """A higher entropy of the tokens, so that degenerate text looks like real text."""
    d["measured"]["token_entropy_nats"] = "5.500000"
    return seal(d)


@attack("recompute")
def theorems_left_out(d):
    """The theorem with the most assumptions is not named."""
    d["theorems"] = d["theorems"][:-1]
    return seal(d)


@attack("recompute")
def states_in_other_words(d):
    """The words that say which states were compared claim more."""
    d["subject"]["numerics"]["states"] = "exact real arithmetic of both models"
    return seal(d)


@attack("recompute")
def another_dtype(d):
    """The original is said to run in float64."""
    d["subject"]["original"]["dtype"] = "float64"
    return seal(d)


@attack("recompute")
def another_configuration(d):
    """The hash of the configuration as it takes effect is another one."""
    d["subject"]["original"]["config_sha256"] = "d" * 64
    return seal(d)


@attack("recompute")
def attention_of_a_remote_kernel(d):
    """The attention is the name of a kernel on a hub, which whoever recomputes would fetch."""
    d["subject"]["numerics"]["attention"] = "kernels-community/flash-attn"
    return seal(d)


@attack("recompute")
def inner_products_turned_round(d):
    """An inner product widened, so that cancellation between blocks cannot be told."""
    block = d["numbers"]["blocks"][1]
    a, i = parse(block["propagated"][1]), parse(block["introduced"][1])
    block["inner"] = [spell(checker.round_down(a * i) * -1), spell(checker.round_down(a * i))]
    return rederive(d)


def _newer(d):
    d["schema"] = "peelverify.certificate/1.2"
    return d


@attack("recompute")
def newer_version_with_theorems_made_up(d):
    """The file says that a newer minor version wrote it, and its theorems are one that does not exist."""
    used = {row["theorem"] for row in d["every_input"]["matrices"]}
    d["theorems"] = [t for t in d["theorems"] if t["name"] in used]
    d["theorems"].append({"name": "PeelVerify.everything", "sha256": "0" * 64})
    return seal(_newer(d))


@attack("recompute")
def newer_version_with_one_more_theorem(d):
    """The same, with all theorems and one more that nobody here can know."""
    d["theorems"].append({"name": "PeelVerify.everything", "sha256": "0" * 64})
    return seal(_newer(d))


@attack("recompute")
def newer_version_with_states_in_other_words(d):
    """The same, and the words that say which states were compared claim more."""
    d["subject"]["numerics"]["states"] = "every text on every machine"
    return seal(_newer(d))


@attack("recompute")
def newer_version_without_its_parts(d):
    """The same, without pool, unseen text and bounds for every input, so that chosen windows look like given tokens."""
    d["every_input"] = d["unseen"] = d["subject"]["pool"] = None
    del d["measured"]["every_input_largest_change"]
    return seal(_newer(d))


@attack("recompute")
def operator_halved_and_radius_doubled(d):
    """Half the operator norm of a matrix and four times its dimension: the bound stays, its factors are false."""
    row = d["every_input"]["matrices"][0]
    row["dimension"] *= 4
    row["operator"], row["radius"] = spell(parse(row["operator"]) / 2), spell(parse(row["radius"]) * 2)
    return seal(d)


@attack("recompute")
def parts_of_a_radius_lowered(d):
    """The lengths of the values of each head lowered, below a radius that stays."""
    row = next(row for row in d["every_input"]["matrices"] if row["input"] == "attention")
    row["parts"] = [spell(parse(x) / 2) for x in row["parts"]]
    return seal(d)


@attack("recompute")
def another_kind_of_input(d):
    """A matrix behind a norm is said to follow an activation."""
    d["every_input"]["matrices"][1]["input"] = "activation"
    del d["every_input"]["matrices"][1]["dimension"]
    return seal(d)


@attack("recompute")
def matrices_not_covered_made_up(d):
    """A block is said to have no bound for every input, with a reason that is not so."""
    d["every_input"]["not_covered"] = [{"block": 0, "name": "all", "reason": "nobody needs it"}]
    return seal(d)


@attack("recompute")
def distinct_tokens_of_hidden_text(d):
    """The ids are left out, as with external tokens, and the number of distinct ones is made up."""
    del d["subject"]["tokens"]["ids"]
    d["unseen"]["distinct_tokens"] = 190
    return seal(d)


@attack("recompute")
def same_top_moved_between_windows(d):
    """A position that keeps its top token is moved from one window to another; the total stays."""
    rows, length = d["numbers"]["units"]["windows"], d["subject"]["tokens"]["shape"][1]
    giver = next(row for row in rows if row["same_top"])
    taker = next(row for row in rows if row is not giver and row["same_top"] < length)
    giver["same_top"], taker["same_top"] = giver["same_top"] - 1, taker["same_top"] + 1
    return seal(d)


@attack("recompute")
def tied_positions_moved(d):
    """Ties at the first position of every window, where there are none."""
    for row in d["numbers"]["units"]["windows"]:
        row["tied_at"] = sorted({0, *row["tied_at"]})
    return rederive(d)


@attack("recompute")
def oscillation_moved_between_windows(d):
    """The oscillation of one window is lowered and that of another raised; the mean stays."""
    a, b = sorted(d["numbers"]["units"]["windows"], key=lambda row: parse(row["oscillation_max"]))[:2]
    step = min(parse(row["oscillation_sum"]) - parse(row["oscillation_max"]) for row in (a, b)) / 64
    a["oscillation_sum"] = spell(checker.round_down(parse(a["oscillation_sum"]) - step))
    b["oscillation_sum"] = spell(checker.round_down(parse(b["oscillation_sum"]) + step))
    return rederive(d)


@attack("recompute")
def settings_of_the_reruns_made_up(d):
    """The re-runs are said to have used another attention and another batch."""
    for rerun in d["numbers"]["reruns"]:
        rerun["attention"], rerun["batch"] = "flash", 77
    return seal(d)


@attack("recompute")
def fewer_reruns(d):
    """All re-runs but the first are left out."""
    d["numbers"]["reruns"] = d["numbers"]["reruns"][:1]
    return rederive(d)


@attack("recompute")
def error_of_the_embeddings_raised(d):
    """The first error twice as large, which lowers the gain of the first block."""
    d["numbers"]["initial_error"] = [spell(parse(x) * 2) for x in d["numbers"]["initial_error"]]
    d["numbers"]["initial_token_max"] = [spell(parse(x) * 2) for x in d["numbers"]["initial_token_max"]]
    return rederive(d)


@attack("recompute")
def a_measured_figure_left_out(d):
    """The largest changes seen, beside which the bounds for every input look loose, are not stated."""
    del d["measured"]["every_input_largest_change"]
    return seal(d)


@attack("recompute")
def small_measured_changes_made_smaller(d):
    """The largest changes seen of all matrices are divided by a thousand."""
    seen = d["measured"]["every_input_largest_change"]
    d["measured"]["every_input_largest_change"] = [f"{float(x) / 1000:.9g}" for x in seen]
    return seal(d)
