"""Load a local Hugging Face decoder, or refuse it with one clear line.

Accepted: a directory (or a hub id, resolved through the hub cache) with ``config.json`` and safetensors
weights of a supported family. Refused: pickle weights, remote code, adapters, quantised back-ends, missing,
surplus, misshapen or non-finite weights. Plain `transformers` fills missing weights at random and only
reports it; here it is an error.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from peelverify.errors import ArtifactError, InputError, NonFiniteError
from peelverify.models.families import family_of, refuse_kind
from peelverify.models.stored import check_sizes, check_stored, damaged, one_line
from peelverify.models.view import ModelView

__all__ = [
    "DTYPES", "PINNED_FOLDERS", "choose_attention", "inside_model", "load_model",
    "load_tokenizer", "model_files", "quiet", "read_config", "resolve_model", "weight_files",
]

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_DECIDING = ("config.json", "generation_config.json", "model.safetensors.index.json")
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "bpe.codes", "dict.txt", "tokenizer.model", "sentencepiece.model",
    "sentencepiece.bpe.model", "spiece.model", "spm.model", "normalizer.json", "chat_template.jinja",
)
"""Files from which transformers builds tokenizers of decoders, whatever their class."""
_MAX_JSON_BYTES = 64 << 20
_OUTPUTS = {"output_attentions": False, "return_dict": True}
"""What a configuration may say of the form of the output; a plain forward pass is what certificates speak of."""
_ATTENTION_NAMES = (None, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
_MERGE = (
    "python -c \"from peft import AutoPeftModelForCausalLM as M; from transformers import AutoTokenizer as T; "
    "m = M.from_pretrained('{}'); "
    "T.from_pretrained(m.peft_config['default'].base_model_name_or_path).save_pretrained('merged'); "
    "m.merge_and_unload().save_pretrained('merged')\""
)
_GGUF = (
    "dequantise it first in transformers: AutoModelForCausalLM.from_pretrained(folder, gguf_file=name).save_pretrained("
    "'dequantised'), then AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained('dequantised')"
)
_UNPACK = (
    "take the model that it was made from, with its tokenizer; transformers cannot dequantise {1}, GPTQModel says it "
    "can (not tried here): python -c \"from gptqmodel.utils.model_dequant import dequantize_model as d; d('{0}', "
    "'dequantised')\""
)
_DEQUANTISE = {
    "gptq": _UNPACK, "awq": _UNPACK, "compressed-tensors": _UNPACK,
    "bitsandbytes": (
        "save a dequantised copy, with bitsandbytes installed: python -c \"from transformers import "
        "AutoModelForCausalLM as M, AutoTokenizer as T; M.from_pretrained('{0}').dequantize().save_pretrained("
        "'dequantised'); T.from_pretrained('{0}').save_pretrained('dequantised')\""
    ),
}
"""What to do about weights quantised by each tool."""
PINNED_FOLDERS: set[Path] = set()
"""Folders of links to open descriptors, made by `peelverify.models.pinned` in this process."""
DTYPES = {
    "float32": torch.float32, "float64": torch.float64,
    "bfloat16": torch.bfloat16, "float16": torch.float16,
}


def resolve_model(model: str | os.PathLike[str]) -> Path:
    """Directory of a model: the path itself, or the hub cache's copy for an id such as ``org/name``.

    Raises:
        ArtifactError: if there is no such directory and the hub gives none.
    """
    path = Path(model)
    if path.is_dir():
        return path
    text = str(model)
    if path.exists() and path.suffix == ".gguf":
        raise ArtifactError(f"{text} is a GGUF file; {_GGUF}")
    if path.exists():
        raise ArtifactError(f"a model is a directory, got the file {text}; give the folder that holds it")
    parts = text.split("/")
    if len(parts) == 2 and all(part and not part.startswith(".") for part in parts):
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(text, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))
        except Exception as error:
            raise ArtifactError(
                f"no directory {text}, and the hub gave no model of that name ({type(error).__name__}); "
                "check the path, or download the model first",
                path=text,
            ) from error
    raise ArtifactError(f"no model directory at {text}; check the path", path=text)


def read_config(directory: Path, *, known: bool = True) -> dict[str, Any]:
    """Read and vet ``config.json``.

    Args:
        directory: model directory.
        known: refuse families that are not listed; without it only mixtures of experts, state spaces and hybrids.

    Raises:
        ArtifactError: if it is missing or not JSON, or the directory holds an adapter.
        InputError: remote code, quantised weights, or an unsupported architecture.
    """
    path = directory / "config.json"
    if not inside_model(path, directory).is_file():
        if (directory / "adapter_config.json").is_file():
            raise ArtifactError(
                f"{directory} holds an adapter, not a model; merge it first: {_MERGE.format(directory)}"
            )
        gguf = sorted(p.name for p in directory.iterdir() if p.suffix == ".gguf")
        if gguf:
            raise ArtifactError(f"{directory} holds a GGUF file ({gguf[0]}); {_GGUF}")
        raise ArtifactError(
            f"{directory} is not a model directory: it has no config.json; "
            "give a folder written by save_pretrained",
            path=str(directory),
        )
    config = _read_json(path)
    for key in ("transformers_weights", "gguf_file"):
        if config.get(key) is not None:
            raise InputError(
                f"{path} names another weight file ({key}), which would be loaded unseen; remove the key and name the "
                "weights model.safetensors"
            )
    if "auto_map" in config:
        raise InputError(
            f"{directory} asks for remote code (auto_map in config.json), which is never run; "
            "use a model of a family that transformers itself contains"
        )
    if (directory / "adapter_config.json").is_file():
        raise InputError(
            f"{directory} has an adapter_config.json beside the weights; merge the adapter first: "
            + _MERGE.format(directory)
        )
    if config.get("quantization_config") is not None and not config["quantization_config"]:
        raise InputError(f"{path} has an empty quantization_config, at which loaders fail; remove the key")
    for key, wanted in _OUTPUTS.items():
        if bool(config.get(key, wanted)) is not wanted:
            raise InputError(
                f"{path} sets {key} to {str(config[key])[:40]}, with which a plain forward pass fails or gives "
                "something else; remove the key"
            )
    if config.get("quantization_config"):
        found = config["quantization_config"]
        method = found.get("quant_method", "unknown") if isinstance(found, dict) else "unknown"
        advice = _DEQUANTISE.get(str(method), "take the model that it was made from, with its tokenizer")
        raise InputError(f"{directory} holds weights quantised by {method}; " + advice.format(directory, method))
    for name, value in _leaves(config):
        if name.lstrip("_").startswith(("attn_implementation", "experts_implementation")) and not (
            value in _ATTENTION_NAMES or isinstance(value, dict)
        ):
            raise InputError(
                f"{path} names the kernel {str(value)[:80]!r} ({name}), which is never fetched or run; remove the key"
            )
        if name == "use_kernels" and value:
            raise InputError(f"{path} asks for kernels of a hub (use_kernels), which are never run; remove the key")
    refuse_kind(config)
    if known:
        family_of(str(config.get("model_type", "")))
    return config


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """All keys with their values, at any depth."""
    stack = [(name, value)]
    while stack:
        name, value = stack.pop()
        yield name, value
        if isinstance(value, dict):
            stack += [(str(key), part) for key, part in value.items()]
        elif isinstance(value, list):
            stack += [(name, part) for part in value]


def _read_json(path: Path) -> dict[str, Any]:
    """Read a small JSON object.

    Raises:
        ArtifactError: too large, or not a JSON object.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError(f"larger than {_MAX_JSON_BYTES >> 20} MiB")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("not a JSON object")
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); restore it from the original model") from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}); check the file") from error
    return found


def inside_model(path: Path, directory: Path) -> Path:
    """Where a file of a model really lies, with every link followed.

    A link may stay inside the directory, or point from ``snapshots/<revision>`` into ``blobs`` of the same model, as
    the hub cache makes them. The private folders of `peelverify.models.pinned` link to open descriptors.

    Raises:
        ArtifactError: if a link leaves the model.
    """
    if not path.is_symlink() or directory in PINNED_FOLDERS:
        return path
    try:
        home, real = directory.resolve(), path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # nowhere, or in a circle
        raise ArtifactError(f"{path} is a link that leads nowhere; copy the file into the directory") from error
    roots = [home, *([home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [])]
    if any(real.is_relative_to(root) for root in roots):
        return real
    raise ArtifactError(
        f"{path} is a link that leaves the model directory ({real}); copy the file into the directory", path=str(path)
    )


def weight_files(directory: Path) -> list[Path]:
    """Safetensors files of a model directory, as its index names them.

    Raises:
        ArtifactError: if there are none, one is missing, or only pickle weights are there.
    """
    index = directory / "model.safetensors.index.json"
    single = directory / "model.safetensors"
    for path in (index, single):
        inside_model(path, directory)
    if single.is_file() and not index.is_file():
        return [single]
    if index.is_file():
        try:
            names = sorted(set(_read_json(index)["weight_map"].values()))
        except (KeyError, AttributeError, TypeError) as error:
            raise ArtifactError(f"{index} is damaged; restore it from the original model") from error
        files = []
        for name in names:
            if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
                raise ArtifactError(f"{index} points outside the model directory ({name!r}); refuse such a model")
            if not name.endswith(".safetensors"):
                raise ArtifactError(f"{index} names {name!r}, which is no safetensors file; convert the model")
            if not inside_model(directory / name, directory).is_file():
                raise ArtifactError(f"{directory} lacks the weight file {name} named in its index; download it")
            files.append(directory / name)
        if single.is_file():
            raise ArtifactError(
                f"{directory} holds both model.safetensors and an index of shards, and loaders differ in which they "
                "take; remove one of them"
            )
        return files
    pickles = sorted(p.name for p in directory.iterdir() if p.suffix in _PICKLES)
    if pickles:
        raise ArtifactError(
            f"{directory} has only pickle weights ({', '.join(pickles[:3])}), which can run code when read; "
            "convert it with save_pretrained(..., safe_serialization=True)",
            files=tuple(pickles),
        )
    if os.path.lexists(single):
        raise ArtifactError(f"{single} needs to be a regular file, got something else; put the weights there")
    raise ArtifactError(f"{directory} has no model.safetensors; download the weights or save the model again")


def _check_weight_file(path: Path) -> None:
    from safetensors import safe_open

    if not path.is_file():
        raise ArtifactError(f"{path} is not a regular file; give a model saved on disk")
    try:
        with safe_open(path, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118  (safe_open is no mapping)
                tensor = handle.get_tensor(name)
                if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                    raise NonFiniteError(
                        f"weights need to be finite, got NaN or infinity in {name} of {path.name}; "
                        "train or convert the model again",
                        tensor=name,
                    )
    except NonFiniteError:
        raise
    except Exception as error:
        raise damaged(path, error) from error


def model_files(directory: str | os.PathLike[str]) -> list[Path]:
    """Files that decide what a model computes, sorted by name: config, index, weights, tokenizer."""
    directory = Path(directory)
    names = [n for n in (*_DECIDING, *_TOKENIZER) if inside_model(directory / n, directory).is_file()]
    return sorted({*(directory / n for n in names), *weight_files(directory)}, key=lambda p: p.name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the loader's own bars and reports, and keep it offline; what matters of them is raised as an error."""
    from huggingface_hub import constants
    from transformers.utils import logging as hf_logging

    offline, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.CRITICAL)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def choose_attention(directory: Path, attention: str = "auto") -> str:
    """Attention implementation for a model: "auto" is sdpa wherever the architecture supports it, else eager.

    Raises:
        InputError: an unknown name, or sdpa for an architecture whose attention it does not compute (Gemma-2
            caps its attention scores).
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if attention not in ("auto", "sdpa", "eager"):
        raise InputError(f"load_model needs attention 'auto', 'sdpa' or 'eager', got {attention!r}; name one of them")
    if attention == "eager":
        return attention
    try:
        with quiet():
            config = AutoConfig.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ArtifactError(
            f"{directory} cannot be loaded: {one_line(error)}; check its config.json", path=str(directory)
        ) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(
            f"load_model needs a causal language model, got model_type {config.model_type!r}; use a decoder",
            model_type=config.model_type,
        )
    supported = bool(getattr(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], "_supports_sdpa", False))
    if attention == "sdpa" and not supported:
        raise InputError(
            f"load_model needs attention 'eager' for {config.model_type}, got 'sdpa', which does not compute its "
            "attention; leave the choice to 'auto'"
        )
    return "sdpa" if supported else "eager"


def load_model(
    model: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    attention: str = "auto",
    device: str = "cpu",
) -> ModelView:
    """Load a decoder and check that what was loaded is what the files say.

    Args:
        model: local directory with safetensors weights, or a hub id.
        dtype: "float32" (default), "float64", "bfloat16" or "float16"; weights are converted to it.
        attention: attention implementation inside `transformers`: "sdpa", "eager", or "auto", which takes sdpa
            wherever the architecture supports it.
        device: torch device.

    Raises:
        ArtifactError: not a model directory; damaged, missing, surplus or misshapen weights; pickle only.
        InputError: unsupported architecture, remote code, adapters, quantised weights, unknown dtype.
        NonFiniteError: NaN or infinite weights.
    """
    if dtype not in DTYPES:
        raise InputError(f"load_model needs dtype in {sorted(DTYPES)}, got {dtype!r}; name one of them")
    directory = resolve_model(model)
    config, files = read_config(directory, known=False), weight_files(directory)
    check_sizes(directory, files, config)
    attention = choose_attention(directory, attention)
    for path in files:
        _check_weight_file(path)
    from transformers import AutoModelForCausalLM

    try:
        with quiet():
            module, info = AutoModelForCausalLM.from_pretrained(
                str(directory),
                dtype=DTYPES[dtype],
                attn_implementation=attention,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as error:
        raise ArtifactError(
            f"{directory} cannot be loaded: {one_line(error)}; check config.json against the weights",
            path=str(directory),
        ) from error
    problems = []
    for kind, label in (
        ("missing_keys", "lacks"), ("unexpected_keys", "has surplus"), ("mismatched_keys", "has misshapen"),
    ):
        names = sorted(str(k[0] if isinstance(k, (tuple, list)) else k) for k in info.get(kind) or ())
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            problems.append(f"{label} weights {', '.join(names[:3])}{more}")
    if info.get("error_msgs"):
        problems.append(one_line(info["error_msgs"][0]))
    if problems:
        raise ArtifactError(
            f"{directory} does not fit its config.json: it {'; it '.join(problems)}; "
            "save the model again with save_pretrained",
            path=str(directory),
        )
    view = ModelView(module.to(device))
    check_stored(directory, files, module, view.family, module.state_dict())
    return view


def load_tokenizer(model: str | os.PathLike[str]) -> Any:
    """Load the tokenizer saved beside a model.

    Raises:
        ArtifactError: if there is none, it cannot be read, or it names other files than those that are hashed.
    """
    from transformers import AutoTokenizer

    directory = resolve_model(model)
    if not any(inside_model(directory / name, directory).is_file() for name in _TOKENIZER):
        raise ArtifactError(f"{directory} has no tokenizer; save one beside the model with save_pretrained")
    settings = inside_model(directory / "tokenizer_config.json", directory)
    if settings.is_file() and "fast_tokenizer_files" in _read_json(settings):
        raise ArtifactError(
            f"the tokenizer of {directory} names a file for each version of the library (fast_tokenizer_files); "
            "save the tokenizer again with save_pretrained"
        )
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the compiled tokenizer is no Exception
        raise ArtifactError(f"the tokenizer of {directory} cannot be read: {one_line(error)}") from error
