"""The nine published sizes of OPT, for planning without their weights."""

from dataclasses import dataclass
from typing import Any

__all__ = ["OPT_SIZES", "OptSize", "opt_size"]


@dataclass(frozen=True)
class OptSize:
    """Geometry of an OPT model (OPT paper, table 1).

    Attributes:
        name: published name of the size, such as `6.7b`.
        blocks: number of transformer blocks.
        heads: attention heads per block.
        width: width of token states; the feed-forward layer is four times as wide.
        embedding_width: width of token embeddings.
        post_norm: layer norms are after attention and feed-forward, without a final one.
    """

    name: str
    blocks: int
    heads: int
    width: int
    embedding_width: int
    post_norm: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Entries of its `config.json`; the published weights are float16."""
        return {
            "model_type": "opt",
            "architectures": ["OPTForCausalLM"],
            "vocab_size": 50_272,
            "hidden_size": self.width,
            "word_embed_proj_dim": self.embedding_width,
            "num_hidden_layers": self.blocks,
            "num_attention_heads": self.heads,
            "ffn_dim": 4 * self.width,
            "max_position_embeddings": 2048,
            "do_layer_norm_before": not self.post_norm,
            "bos_token_id": 2,
            "eos_token_id": 2,
            "pad_token_id": 1,
            "torch_dtype": "float16",
        }


OPT_SIZES = (
    OptSize("125m", 12, 12, 768, 768),
    OptSize("350m", 24, 16, 1024, 512, post_norm=True),
    OptSize("1.3b", 24, 32, 2048, 2048),
    OptSize("2.7b", 32, 32, 2560, 2560),
    OptSize("6.7b", 32, 32, 4096, 4096),
    OptSize("13b", 40, 40, 5120, 5120),
    OptSize("30b", 48, 56, 7168, 7168),
    OptSize("66b", 64, 72, 9216, 9216),
    OptSize("175b", 96, 96, 12_288, 12_288),
)


def opt_size(name: str) -> OptSize | None:
    """Return the OPT size of a model name such as `opt-6.7b` or `facebook/opt-6.7b`; None for other models."""
    known = {f"opt-{size.name}": size for size in OPT_SIZES}
    return known.get(name.removeprefix("facebook/"))
