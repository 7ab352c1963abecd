"""Models: Hugging Face decoders as sequences of blocks; loading, saving and small decoders to try things on."""

from peelverify.models.families import FAMILIES, Family, family_of, find_family
from peelverify.models.load import load_model, load_tokenizer, model_files
from peelverify.models.save import save_model
from peelverify.models.view import ModelView, Trace

__all__ = [
    "FAMILIES",
    "Family",
    "ModelView",
    "Trace",
    "family_of",
    "find_family",
    "load_model",
    "load_tokenizer",
    "model_files",
    "save_model",
]
