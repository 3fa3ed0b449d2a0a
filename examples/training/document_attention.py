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
and not of the whole sequence's. A document may have branches: several continuations of a shared prefix, which is computed once.
Importing this module registers it with transformers.
"""

import weakref
from typing import NamedTuple

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
    Causal attention within each document and branch of a packed sequence; whatever is no such sequence goes to `sdpa`.

    Args:
        module (`nn.Module`): The attention layer.
        query (`torch.Tensor` of shape `(batch_size, num_heads, num_queries, head_dim)`): Queries.
        key, value (`torch.Tensor` of shape `(batch_size, num_key_value_heads, num_keys, head_dim)`): Keys and values.
        attention_mask (`torch.Tensor`, *optional*): For `sdpa`.
        dropout (`float`, defaults to 0.0): Share of the attention weights that is left out.
        scaling (`float`, *optional*): Factor of the scores.
        position_ids (`torch.Tensor` of shape `(1, num_queries)`, *optional*): Positions, which start at 0 in each document. Where
            they fall back to `n` above 0, a branch begins: its tokens attend to each other and to the document's first `n`.

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
    for group in groups:
        places = (group.queries, group.keys, group.keys)
        rows = [part.index_select(0, place.flatten()).unflatten(0, place.shape) for part, place in zip(states, places)]
        attended = F.scaled_dot_product_attention(
            *(part.transpose(1, 2) for part in rows),
            attn_mask=group.mask,
            dropout_p=dropout,
            scale=scaling,
            is_causal=group.mask is None,
        )
        outputs.append(attended.transpose(1, 2).flatten(0, 1).index_select(0, group.is_token))
    return torch.cat(outputs).index_select(0, order)[None], None


class DocumentGroup(NamedTuple):
    """
    Documents, or branches, that are computed together.

    Args:
        queries (`torch.Tensor` of shape `(num_documents, most_queries)`): Places of their tokens in the sequence, 0 for padding.
        keys (`torch.Tensor` of shape `(num_documents, most_keys)`): Places of what they attend to: of branches, the first tokens
            of their document and their own.
        mask (`torch.Tensor` of shape `(num_documents, 1, most_queries, most_keys)`, *optional*): Which keys each query of branches
            may attend to. By default those up to its own place; padding comes after all of them.
        is_token (`torch.Tensor` of shape `(num_tokens,)`): Which of the queries, flattened, are no padding.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    mask: torch.Tensor | None
    is_token: torch.Tensor


_last_groups: tuple[weakref.ref, tuple[list[DocumentGroup], torch.Tensor | None]] | None = None


def group_documents(position_ids: torch.Tensor) -> tuple[list[DocumentGroup], torch.Tensor | None]:
    """
    Documents, and branches, of about the same length. All layers of a forward pass share them.

    Args:
        position_ids (`torch.Tensor` of shape `(1, total_length)`): Positions, as [`document_attention_forward`] takes them.

    Returns:
        `tuple[list[DocumentGroup], torch.Tensor]`: The groups, and the order of their tokens, one after another, in the sequence.
        No groups and `None` if there are neither two documents nor branches.
    """
    global _last_groups
    if _last_groups is not None and _last_groups[0]() is position_ids:
        return _last_groups[1]
    device = position_ids.device
    # Sizes depend on the values, for each of which the host would wait for the device.
    positions = position_ids[0].cpu()
    is_start = positions <= F.pad(positions[:-1], (1, 0))
    starts = is_start.nonzero()[:, 0]
    groups, order = [], None
    if len(starts) > 1 and positions[0] == 0:
        # Of the document that a branch belongs to: those before the branch.
        num_shared = positions[starts]
        document_starts = torch.where(num_shared == 0, starts, 0).cummax(0).values
        lengths = torch.diff(starts, append=starts.new_tensor([len(positions)]))
        buckets = torch.stack(((num_shared + lengths - 1) // BUCKET_SIZE, num_shared > 0))
        for bucket in buckets.unique(dim=1).T:
            chosen = (buckets == bucket[:, None]).all(0)
            first, length, shared = (values[chosen][:, None] for values in (starts, lengths, num_shared))
            steps = torch.arange(int(length.amax()))
            is_token = steps < length
            queries = torch.where(is_token, first + steps, 0)
            keys, mask = queries, None
            if bucket[1]:
                key_steps = torch.arange(int((shared + length).amax()))
                keys = torch.where(
                    key_steps < shared, document_starts[chosen][:, None] + key_steps, first + key_steps - shared
                )
                keys = torch.where(key_steps < shared + length, keys, 0)
                mask = (key_steps <= (shared + steps)[..., None])[:, None]
            groups.append(DocumentGroup(queries, keys, mask, is_token.flatten().nonzero()[:, 0]))
        order = torch.cat([group.queries.flatten()[group.is_token] for group in groups]).argsort().to(device)
        groups = [DocumentGroup(*(None if part is None else part.to(device) for part in group)) for group in groups]
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
