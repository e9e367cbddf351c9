"""Multi-head attention whose projections are linear layers of their own, so that per-row gradients are known."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from veriward.core.errors import ModelError


class Attention(nn.Module):
    """`nn.MultiheadAttention` (Vaswani et al., 2017, arXiv:1706.03762, section 3.2.2) built of four linear layers.

    Takes what it takes and answers alike: (output, weights averaged over heads or None). `fix` builds it from one. Its
    inputs are (n, t, d), rows first; batch_first=False and bias_k, bias_v and add_zero_attn are refused with ModelError.
    """

    in_proj_bias = None  # TransformerEncoderLayer reads it before it takes a fused path, which would skip our layers
    _qkv_same_embed_dim = False
    batch_first = True

    def __init__(self, query: nn.Linear, key: nn.Linear, value: nn.Linear, out: nn.Linear, heads: int, dropout: float):
        super().__init__()
        self.query, self.key, self.value, self.out = query, key, value, out
        self.num_heads, self.dropout = heads, nn.Dropout(dropout)

    @classmethod
    def of(cls, given: nn.MultiheadAttention, path: str) -> "Attention":
        """Return an attention with the weights of another, copied."""
        if not given.batch_first or given.bias_k is not None or given.add_zero_attn:
            raise ModelError(
                f"{path} (MultiheadAttention): want batch_first=True and neither add_bias_kv nor add_zero_attn: "
                f"rows come first in per-row clipping"
            )
        width, bias = given.embed_dim, given.in_proj_bias
        packed = given.in_proj_weight
        weights = (
            packed.chunk(3) if packed is not None else (given.q_proj_weight, given.k_proj_weight, given.v_proj_weight)
        )
        biases = bias.chunk(3) if bias is not None else (None, None, None)
        layers = [linear_of(w, b) for w, b in zip(weights, biases, strict=True)]
        out = linear_of(given.out_proj.weight, given.out_proj.bias)
        assert out.out_features == width
        return cls(layers[0], layers[1], layers[2], out, given.num_heads, float(given.dropout))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """query (n, t, d), key and value (n, s, d); masks as in torch: True or -inf hides a position."""
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        mask = self._mask(key_padding_mask, attn_mask, q)
        if need_weights:
            scores = q @ k.mT / q.shape[-1] ** 0.5
            weights = (scores if mask is None else scores + mask).softmax(-1)
            mixed = self.dropout(weights) @ v
        else:
            share = self.dropout.p if self.training else 0.0
            weights, mixed = None, functional.scaled_dot_product_attention(q, k, v, mask, share)
        told = weights.mean(1) if weights is not None and average_attn_weights else weights
        return self.out(mixed.transpose(1, 2).flatten(2)), told

    def _mask(self, padding: Tensor | None, attention: Tensor | None, like: Tensor) -> Tensor | None:
        found = None
        if attention is not None:
            per_head = attention.ndim == 3
            found = _added(attention.unflatten(0, (-1, self.num_heads)) if per_head else attention, like)
        if padding is not None:
            hidden = _added(padding[:, None, None], like)
            found = hidden if found is None else found + hidden
        return found


def _added(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf)


def linear_of(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a linear layer with copies of a weight (p, d) and a bias (p,), frozen where they are."""
    layer: nn.Linear = nn.utils.skip_init(
        nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None, device=weight.device, dtype=weight.dtype
    )
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
    return layer
