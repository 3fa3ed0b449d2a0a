# Copyright 2026 The transformers-videolavit authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""
Attention for packed documents where no kernel skips what lies between them, as on CPUs: `attn_implementation="sdpa_documents"`.

PyTorch's scaled dot product computes all pairs of a packed sequence and masks those of different documents. Here each document
attends by itself, together with the documents of about its length, so that the work grows with the squares of the documents' lengths
and not of the whole sequence's. Importing this module registers it with transformers.
"""

import weakref

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask


NAME = "sdpa_documents"
# Documents whose lengths fall into the same multiple of this are padded to the longest of them.
BUCKET_SIZE = 32


def document_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_ids: torch.Tensor | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """
    Causal attention within each document of a packed sequence; whatever is no such sequence goes to `sdpa`.

    Args:
        module (`nn.Module`): The attention layer.
        query (`torch.Tensor` of shape `(batch_size, num_heads, num_queries, head_dim)`): Queries.
        key, value (`torch.Tensor` of shape `(batch_size, num_key_value_heads, num_keys, head_dim)`): Keys and values.
        attention_mask (`torch.Tensor`, *optional*): For `sdpa`.
        dropout (`float`, defaults to 0.0): Share of the attention weights that is left out.
        scaling (`float`, *optional*): Factor of the scores.
        position_ids (`torch.Tensor` of shape `(1, num_queries)`, *optional*): Positions, which start at 0 in each document.

    Returns:
        `tuple[torch.Tensor, None]`: The output, of shape `(batch_size, num_queries, num_heads, head_dim)`.
    """
    length = query.shape[2]
    is_packed = (
        position_ids is not None
        and position_ids.shape == (1, length)
        and query.shape[0] == 1
        and key.shape[2] == length
        and getattr(module, "is_causal", False)
    )
    groups, order = group_documents(position_ids) if is_packed else ([], None)
    if order is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, position_ids=position_ids, **kwargs
        )
    num_groups = getattr(module, "num_key_value_groups", 1)
    states = [
        states[0].transpose(0, 1) for states in (query, repeat_kv(key, num_groups), repeat_kv(value, num_groups))
    ]
    outputs = []
    for indices, is_token in groups:
        # What stands for padding comes after all tokens of its document, where no query looks.
        rows = [part.index_select(0, indices.flatten()).unflatten(0, indices.shape) for part in states]
        attended = F.scaled_dot_product_attention(
            *(part.transpose(1, 2) for part in rows), dropout_p=dropout, scale=scaling, is_causal=True
        )
        outputs.append(attended.transpose(1, 2).flatten(0, 1).index_select(0, is_token))
    return torch.cat(outputs).index_select(0, order)[None], None


_last_groups: tuple[weakref.ref, tuple[list, torch.Tensor | None]] | None = None


def group_documents(
    position_ids: torch.Tensor,
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor | None]:
    """
    Documents of about the same length, which are computed together. All layers of a forward pass share them.

    Args:
        position_ids (`torch.Tensor` of shape `(1, total_length)`): Positions, which start at 0 in each document.

    Returns:
        `tuple`: For each group the places of its documents' tokens, of shape `(num_documents, longest)`, with 0 for padding, and
        which of these, flattened, are no padding; and the order of the groups' tokens, one after another, in the sequence. No
        groups and `None` if there are no two documents.
    """
    global _last_groups
    if _last_groups is not None and _last_groups[0]() is position_ids:
        return _last_groups[1]
    device = position_ids.device
    # Sizes depend on the values, for each of which the host would wait for the device.
    starts = (position_ids[0].cpu() == 0).nonzero()[:, 0]
    groups, order = [], None
    if len(starts) > 1 and starts[0] == 0:
        lengths = torch.diff(starts, append=starts.new_tensor([position_ids.shape[1]]))
        buckets = (lengths - 1) // BUCKET_SIZE
        for bucket in buckets.unique().tolist():
            chosen = buckets == bucket
            steps = torch.arange(int(lengths[chosen].amax()))
            is_token = steps < lengths[chosen][:, None]
            indices = torch.where(is_token, starts[chosen][:, None] + steps, 0)
            groups.append((indices, is_token.flatten().nonzero()[:, 0]))
        order = torch.cat([indices.flatten()[is_token] for indices, is_token in groups]).argsort().to(device)
        groups = [(indices.to(device), is_token.to(device)) for indices, is_token in groups]
    _last_groups = (weakref.ref(position_ids), (groups, order))
    return groups, order


def document_attention_mask(
    batch_size: int, q_length: int, kv_length: int, attention_mask: torch.Tensor | None = None, **kwargs
) -> torch.Tensor | None:
    """
    No mask, which would have a place for each pair of tokens, for one sequence as a whole: [`document_attention_forward`] cuts it into
    documents, if it is packed, or gives it to `sdpa` as a causal one. Else the mask of `sdpa`. For models whose attention is
    causal and has no window.
    """
    if batch_size == 1 and q_length == kv_length and attention_mask is None:
        return None
    return sdpa_mask(
        batch_size=batch_size, q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, **kwargs
    )


AttentionInterface.register(NAME, document_attention_forward)
AttentionMaskInterface.register(NAME, document_attention_mask)
