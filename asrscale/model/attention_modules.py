"""Parts of attention that transformers computes in ways which hooks, LoRA or 16 bits do not survive, or GPUs wait for.

The state dicts are stock, and so is what they compute. Shapes: B utterances of a pass, F frames, A heads, D features of
a head, H = A × D hidden.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask, sdpa_mask

from asrscale.model.families import CtcModel, attentions_of, encoder_of


class CalledProjections(nn.Module):
    """The attention of WavLM, which calls its linear layers.

    transformers hands their weights to a function of torch: what LoRA adds to such a layer would be left out without a
    word, and no hook on it would run. `replace_attention_modules` puts it before transformers' class.
    """

    num_heads: int
    head_dim: int
    dropout: float
    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    out_proj: nn.Linear

    def torch_multi_head_self_attention(
        self, hidden_states: Tensor, attention_mask: Tensor | None, gated_position_bias: Tensor
    ) -> tuple[Tensor, None]:
        """Returns what is attended to, (B, F, H), and no weights; transformers calls it by this name.

        Args:
            hidden_states: (B, F, H).
            attention_mask: (B, F) bool, true at frames that are no padding; None: nothing is padded.
            gated_position_bias: (B × A, F, F), added to the scores.
        """
        B, F, H = hidden_states.shape

        def by_head(projection: nn.Linear) -> Tensor:
            projected: Tensor = projection(hidden_states)
            return projected.view(B, F, self.num_heads, self.head_dim).transpose(1, 2).reshape(-1, F, self.head_dim)

        query = by_head(self.q_proj) * self.head_dim**-0.5
        scores = torch.baddbmm(gated_position_bias, query, by_head(self.k_proj).transpose(1, 2))
        if attention_mask is not None:
            is_padding = (attention_mask != 1).repeat_interleave(self.num_heads, dim=0)
            scores = scores.masked_fill(is_padding[:, None, :], torch.finfo(scores.dtype).min)
        weights = functional.dropout(scores.softmax(-1), self.dropout, self.training)
        attended = torch.bmm(weights, by_head(self.v_proj))
        joined = attended.view(B, self.num_heads, F, self.head_dim).transpose(1, 2).reshape(B, F, H)
        return self.out_proj(joined), None


class ExactRotaryEmbedding(nn.Module):
    """Rotary position embeddings that are computed in fp32, whatever the model computes in.

    transformers computes them in the precision of the weights: bf16 has no odd number above 256, which is a frame after
    five seconds. It also keeps those of the last pass, so that a pass would not always be the same operations.
    """

    inv_freq: Tensor
    base: float

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Returns the cosines and sines (2, F, 1, 1, D) of the frames' positions."""
        device = hidden_states.device
        features = 2 * len(self.inv_freq)
        exponents = torch.arange(0, features, 2, device=device).float() / features
        positions = torch.arange(hidden_states.shape[1], device=device).float()
        angles = positions[:, None] * (1.0 / self.base**exponents)
        both_halves = torch.cat((angles, angles), dim=-1)[:, None, None, :]
        return torch.stack([both_halves.cos(), both_halves.sin()]).type_as(hidden_states)


_makes_masks_unseen = ContextVar("makes_masks_unseen", default=False)


@contextmanager
def masks_made_unseen() -> Iterator[None]:
    """Has transformers make the attention mask of a pass without looking into it.

    Where all of a mask is true it makes none: to know that, the host would wait for the device in every pass. The
    kernels of flash-attn look into their mask by themselves.
    """
    before = _makes_masks_unseen.set(True)
    try:
        yield
    finally:
        _makes_masks_unseen.reset(before)


def _make_mask(make: Callable[..., Tensor | None], *args: Any, **settings: Any) -> Tensor | None:
    """Returns what one of transformers' functions makes; in `masks_made_unseen`, never None in place of a mask."""
    if _makes_masks_unseen.get() and settings["attention_mask"] is not None:
        settings["allow_is_bidirectional_skip"] = False
    return make(*args, **settings)


# A table of transformers, which other models use as well: outside of `masks_made_unseen` nothing is different for them.
ALL_MASK_ATTENTION_FUNCTIONS["sdpa"] = partial(_make_mask, sdpa_mask)
ALL_MASK_ATTENTION_FUNCTIONS["eager"] = partial(_make_mask, eager_mask)


def replace_attention_modules(model: CtcModel) -> None:
    """Changes the modules of a model that need it to the classes of this file."""
    for attention in attentions_of(model):
        if hasattr(attention, "torch_multi_head_self_attention"):
            attention.__class__ = type("WavLMAttention", (CalledProjections, type(attention)), {})
    embedding: Any = getattr(encoder_of(model), "embed_positions", None)
    if hasattr(embedding, "inv_freq"):
        embedding.base = model.config.rotary_embedding_base
        embedding.__class__ = ExactRotaryEmbedding
