"""Compression of decoders: quantise, prune, delete blocks, and rank blocks for removal."""

from peelverify.compress.apply import METHODS, Settings, compress_model
from peelverify.compress.bits import BitPlan, bits_within_budget
from peelverify.compress.components import Sensitivity, component_sensitivity
from peelverify.compress.copies import Compressed, copy_view
from peelverify.compress.delete import delete_layers
from peelverify.compress.diagnostics import DIAGNOSTICS, layer_diagnostics
from peelverify.compress.lowbit import low_bit_model, low_rank_model
from peelverify.compress.prune import prune_model, prune_weight
from peelverify.compress.quantize import Quantized, quantize_model, round_to_nearest
from peelverify.compress.rank import CRITERIA, Ranking, ignore_lists, mergekit_slices, rank_layers
from peelverify.compress.record import compression_record, read_record, save_compressed, weight_digests
from peelverify.compress.schedule import SCHEDULES, Schedule, sparsity_schedule
from peelverify.compress.search import Removal, removal_path, removal_within_budget, search_removal
from peelverify.compress.spectrum import PowerLaw, powerlaw_alpha
from peelverify.compress.tokenweights import TOKEN_WEIGHTS, token_weights

__all__ = [
    "CRITERIA",
    "DIAGNOSTICS",
    "METHODS",
    "SCHEDULES",
    "TOKEN_WEIGHTS",
    "BitPlan",
    "Compressed",
    "PowerLaw",
    "Quantized",
    "Ranking",
    "Removal",
    "Schedule",
    "Sensitivity",
    "Settings",
    "bits_within_budget",
    "component_sensitivity",
    "compress_model",
    "compression_record",
    "copy_view",
    "delete_layers",
    "ignore_lists",
    "layer_diagnostics",
    "low_bit_model",
    "low_rank_model",
    "mergekit_slices",
    "powerlaw_alpha",
    "prune_model",
    "prune_weight",
    "quantize_model",
    "rank_layers",
    "read_record",
    "removal_path",
    "removal_within_budget",
    "round_to_nearest",
    "save_compressed",
    "search_removal",
    "sparsity_schedule",
    "token_weights",
    "weight_digests",
]
