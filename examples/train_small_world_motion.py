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
Stage 2 for the small world: `pretrain.py`, whose language model also learns where in a keyframe the motion is.

    accelerate launch examples/train_small_world_motion.py --config examples/configs/small_world/pretrain.yaml \\
        --attn_implementation sdpa_documents --model_name_or_path outputs/base --train_files 'outputs/tokens/*.parquet' \\
        --output_dir outputs/pretrained

A keyframe's codes hardly tell where things are, its continuous features do; but from a few thousand videos, the loss of the next token alone did
not teach a small model to read this from them in the steps that were tried: it moved something where objects mostly are. So auxiliary losses ask
for what is needed on the way, of linear heads on early hidden states and of one attention head. Behind the first layer, each motion token tells
which part of the clip it is of, and each patch of a given keyframe (`given_keyframe_probability`) which patch it is; behind the first and the
second, how much of the motion begins there. To those patches the attention head looks from `[MOV]`, which tells, behind the second and the third
layer, where the motion lies. All this is known from the motion's tokens. The heads are no part of the model that is saved. Killed and started
again with the same arguments, it goes on from its last checkpoint.
"""

from dataclasses import dataclass, field
from functools import partial

import torch
from pretrain import DataArguments, ModelArguments, load_model, pretrain
from torch import nn
from torch.nn import functional as F
from training.arguments import VideoLaVITTrainingArguments, parse_arguments
from training.auxiliary_losses import AuxiliaryLossTrainer, save_without_heads
from training.trainer import prepare_run
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from transformers_videolavit import VideoLaVITConfig


@dataclass
class ObjectiveArguments:
    auxiliary_loss_weight: float = field(
        default=1.5, metadata={"help": "Weight of the auxiliary losses; 0 leaves the loss of the next token alone."}
    )
    projector_scale: float = field(
        default=1.0,
        metadata={
            "help": "What the projector's weights are multiplied by at the start, where its outputs are far longer than embeddings."
        },
    )
    token_layer: int = field(
        default=1, metadata={"help": "Number of layers after which motion tokens and patches tell which these are."}
    )
    patch_layers: list[int] = field(
        default_factory=lambda: [1, 2],
        metadata={"help": "Numbers of layers after which patches tell how much of the motion begins there."},
    )
    attention_layer: int = field(
        default=2, metadata={"help": "Number of the layer whose attention from `[MOV]` is asked for."}
    )
    attention_head: int = field(default=1, metadata={"help": "Which of its heads, from 0."})
    motion_layers: list[int] = field(
        default_factory=lambda: [2, 3],
        metadata={"help": "Numbers of layers after which `[MOV]` tells where the motion lies."},
    )


ARGUMENTS = (ModelArguments, DataArguments, ObjectiveArguments, VideoLaVITTrainingArguments)


class AuxiliaryHeads(nn.Module):
    """
    Linear maps from hidden states to what they should tell.

    Args:
        config ([`VideoLaVITConfig`]): Of the model.
        objective ([`ObjectiveArguments`]): Layers.
    """

    def __init__(self, config: VideoLaVITConfig, objective: ObjectiveArguments):
        super().__init__()
        hidden_size, motion_config = config.text_config.hidden_size, config.motion_tokenizer_config
        num_cells = motion_config.latent_shape[0] * motion_config.motion_height * motion_config.motion_width
        self.norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.token_place = nn.Linear(hidden_size, motion_config.num_motion_tokens)
        self.patch_place = nn.Linear(hidden_size, config.num_image_tokens)
        self.patch_motion = nn.ModuleList([nn.Linear(hidden_size, 1) for _ in objective.patch_layers])
        self.motion_place = nn.ModuleList([nn.Linear(hidden_size, num_cells) for _ in objective.motion_layers])


class MotionPlaceTrainer(AuxiliaryLossTrainer):
    """
    [`AuxiliaryLossTrainer`], with the losses of what [`AuxiliaryHeads`] tell and of one head's attention.

    Args:
        objective ([`ObjectiveArguments`]): Weight and layers.
        kwargs: Arguments of [`LanguageModelTrainer`].
    """

    def __init__(self, *, objective: ObjectiveArguments, **kwargs):
        super().__init__(auxiliary_loss_weight=objective.auxiliary_loss_weight, **kwargs)
        self.objective = objective

    def compute_loss(self, model, inputs, *args, **kwargs):
        self._auxiliary_inputs = {"input_ids": inputs["input_ids"][0]}
        if "pixel_values" in inputs:
            # Which patches are kept is not among the model's outputs.
            features = self._unwrapped.get_image_features(inputs["pixel_values"], return_dict=True)
            self._auxiliary_inputs["keep_masks"] = torch.stack(features.keep_mask)
            inputs = {name: value for name, value in inputs.items() if name != "pixel_values"}
            inputs["mm_encoder_outputs"] = {"image": features}
        return super().compute_loss(model, inputs, *args, **kwargs)

    def auxiliary_losses(
        self,
        hidden_states: tuple[torch.Tensor, ...],
        input_ids: torch.LongTensor,
        keep_masks: torch.BoolTensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        How wrong it is what hidden states tell, and where `[MOV]` looks.

        Args:
            hidden_states (`tuple[torch.Tensor, ...]`): Of shape (1, total_length, hidden_size), before and behind each layer.
            input_ids (`torch.LongTensor` of shape (total_length,)): The tokens.
            keep_masks (`torch.BoolTensor` of shape (num_images, num_image_tokens), *optional*): The patches of given keyframes that
                the selector keeps.

        Returns:
            `dict[str, torch.Tensor]`: The cross-entropies `token_place` and `patch_place`, and the Kullback-Leibler divergences
            `motion_place`, `patch_motion` and `attention`, sums over layers. Without what the batch does not have.
        """
        model, objective, losses = self._unwrapped, self.objective, {}
        heads, config = model.auxiliary_heads, model.config
        num_tokens = config.motion_tokenizer_config.num_motion_tokens
        starts = (input_ids == config.motion_start_token_id).nonzero()[:, 0]
        if len(starts) == 0:
            return losses

        def read(layer: int, places: torch.LongTensor) -> torch.Tensor:
            return heads.norm(hidden_states[layer][0, places].float())

        # 1. What is known of the motion
        numbers = torch.arange(num_tokens, device=starts.device)
        tokens = starts[:, None] + numbers
        codes = input_ids[tokens + 1] - config.motion_code_offset
        energy = motion_energy(model.model.motion_tokenizer, codes)

        # 2. Motion tokens, each of which is to predict the next, and `[MOV]`
        place_logits = heads.token_place(read(objective.token_layer, tokens))
        losses["token_place"] = F.cross_entropy(place_logits.flatten(0, 1), numbers.repeat(len(starts)))
        losses["motion_place"] = sum(
            divergence(head(read(layer, starts)).view_as(energy), energy)
            for layer, head in zip(objective.motion_layers, heads.motion_place)
        )

        # 3. Patches of keyframes that motion follows
        if keep_masks is None:
            return losses
        patches = (input_ids == config.image_token_id).nonzero().view(-1, config.num_image_tokens)
        # Behind the last patch come `[/IMG]` and, of videos, `[MOV]`.
        following = patches[:, -1] + 2
        has_motion = torch.isin(following, starts)
        if not has_motion.any():
            return losses
        patches, following, keep_masks = patches[has_motion], following[has_motion], keep_masks[has_motion]
        beginning = self._motion_at_patches(energy[torch.searchsorted(starts, following), 0]) * keep_masks
        beginning = beginning / beginning.sum(dim=-1, keepdim=True).clamp(min=torch.finfo().tiny)
        losses["patch_place"] = F.cross_entropy(
            heads.patch_place(read(objective.token_layer, patches[keep_masks])), keep_masks.nonzero()[:, 1]
        )
        losses["patch_motion"] = sum(
            divergence(mask_dropped(head(read(layer, patches))[..., 0], keep_masks), beginning)
            for layer, head in zip(objective.patch_layers, heads.patch_motion)
        )
        scores = self._attention_scores(
            hidden_states[objective.attention_layer - 1][0], patches, following, keep_masks
        )
        losses["attention"] = divergence(mask_dropped(scores, keep_masks), beginning)
        return losses

    def _motion_at_patches(self, energy: torch.Tensor) -> torch.Tensor:
        """What of the motion, of shape (num_clips, height · width), lies on each patch of the image, (num_clips, num_patches)."""
        config = self._unwrapped.config
        side = int(config.num_image_tokens**0.5)
        grid = energy.view(
            -1, 1, config.motion_tokenizer_config.motion_height, config.motion_tokenizer_config.motion_width
        )
        return F.interpolate(grid, size=(side, side), mode="area").flatten(1)

    def _attention_scores(
        self,
        hidden_states: torch.Tensor,
        patches: torch.LongTensor,
        following: torch.LongTensor,
        keep_masks: torch.BoolTensor,
    ) -> torch.Tensor:
        """
        Scores of one head's attention from `[MOV]` to the patches before it, before the softmax.

        Returns:
            `torch.Tensor` of shape (num_images, num_image_tokens).
        """
        language_model = self._unwrapped.model.language_model
        layer = language_model.layers[self.objective.attention_layer - 1]
        attention = layer.self_attn
        states = layer.input_layernorm(hidden_states[torch.cat((patches, following[:, None]), dim=1)])
        # Only the distances between positions matter; dropped patches have none, and `[/IMG]` is between the last one and `[MOV]`.
        positions = keep_masks.cumsum(dim=1) - 1
        positions = torch.cat((positions.clamp(min=0), positions[:, -1:] + 2), dim=1)
        shape = (*states.shape[:2], -1, attention.head_dim)
        queries, keys = (
            project(states).view(shape).transpose(1, 2) for project in (attention.q_proj, attention.k_proj)
        )
        queries, keys = apply_rotary_pos_emb(queries, keys, *language_model.rotary_emb(states, positions))
        head = self.objective.attention_head
        query, key = queries[:, head, -1:], keys[:, head // attention.num_key_value_groups, :-1]
        return (query @ key.mT)[:, 0].float() * attention.scaling


def motion_energy(motion_tokenizer: nn.Module, codes: torch.LongTensor) -> torch.Tensor:
    """
    Where the motion of clips lies: the decoded motion's squared length, as shares of the whole in each part of the clip in time.

    Args:
        motion_tokenizer ([`VideoLaVITMotionTokenizer`]): Decodes the motion.
        codes (`torch.LongTensor` of shape (num_clips, num_motion_tokens)): Motion codes.

    Returns:
        `torch.Tensor` of shape (num_clips, num_parts, height · width), of which the last sums to 1.
    """
    with torch.no_grad():
        squares = motion_tokenizer.decode(codes).float().square().sum(dim=1)
    num_parts = motion_tokenizer.config.latent_shape[0]
    energy = squares.unflatten(1, (num_parts, -1)).sum(dim=2).flatten(2)
    return energy / energy.sum(dim=-1, keepdim=True).clamp(min=torch.finfo().tiny)


def mask_dropped(logits: torch.Tensor, keep_masks: torch.BoolTensor) -> torch.Tensor:
    """Leaves dropped patches out of a softmax, without an infinity, which would make their share of a divergence undefined."""
    return logits.masked_fill(~keep_masks, torch.finfo(logits.dtype).min)


def divergence(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean Kullback-Leibler divergence of the softmax of `logits` from `target`, both of shape (..., num_choices)."""
    log_shares = logits.float().log_softmax(dim=-1)
    return (torch.xlogy(target, target) - target * log_shares).sum(dim=-1).mean()


def main(args: list[str] | None = None):
    model_args, data_args, objective, training_args = parse_arguments(ARGUMENTS, args, description=__doc__)
    checkpoint = prepare_run(training_args)

    model, processor = load_model(model_args)
    layers = [objective.token_layer, objective.attention_layer, *objective.patch_layers, *objective.motion_layers]
    text_config = model.config.text_config
    if not all(0 < layer <= text_config.num_hidden_layers for layer in layers):
        raise ValueError(
            "`token_layer`, `attention_layer`, `patch_layers` and `motion_layers` must be from 1 to "
            f"{text_config.num_hidden_layers}, the model's layers, not {layers}."
        )
    if not 0 <= objective.attention_head < text_config.num_attention_heads:
        raise ValueError(
            f"`attention_head` must be from 0 to {text_config.num_attention_heads - 1}, not {objective.attention_head}."
        )
    # A part of the model, so that it is trained, written into checkpoints and read from them as all the rest.
    model.auxiliary_heads = AuxiliaryHeads(model.config, objective)
    with torch.no_grad():
        for parameter in model.model.multi_modal_projector.parameters():
            parameter.mul_(objective.projector_scale)

    pretrain(
        model,
        processor,
        model_args,
        data_args,
        training_args,
        checkpoint,
        MotionPlaceTrainer,
        partial(save_without_heads, model, processor),
        objective=objective,
    )


if __name__ == "__main__":
    main()
