"""Compression of decoders: quantise, prune, delete blocks, and rank blocks for removal."""

from peelverify.compress.copies import Compressed, copy_view
from peelverify.compress.delete import delete_layers
from peelverify.compress.prune import prune_model, prune_weight
from peelverify.compress.quantize import Quantized, quantize_model, round_to_nearest
from peelverify.compress.rank import CRITERIA, Ranking, mergekit_slices, rank_layers
from peelverify.compress.record import compression_record, read_record, save_compressed, weight_digests

__all__ = [
    "CRITERIA",
    "Compressed",
    "Quantized",
    "Ranking",
    "compression_record",
    "copy_view",
    "delete_layers",
    "mergekit_slices",
    "prune_model",
    "prune_weight",
    "quantize_model",
    "rank_layers",
    "read_record",
    "round_to_nearest",
    "save_compressed",
    "weight_digests",
]
