"""Token sequences with placeholders of images and videos, and batches of them."""

import torch


IMAGE_START, IMAGE_END, MOTION_START, MOTION_END = 32000, 32001, 48386, 48387


def image_block(config):
    return [IMAGE_START] + [config.image_token_id] * config.num_image_tokens + [IMAGE_END]


def clip_block(config):
    keyframe = [IMAGE_START] + [config.video_token_id] * config.num_image_tokens + [IMAGE_END]
    motion = [config.video_token_id] * config.motion_tokenizer_config.num_motion_tokens
    return [*keyframe, MOTION_START, *motion, MOTION_END]


def pad_batch(sequences, side):
    length = max(len(sequence) for sequence in sequences)
    input_ids = torch.zeros((len(sequences), length), dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for row, sequence in enumerate(sequences):
        columns = slice(length - len(sequence), length) if side == "left" else slice(0, len(sequence))
        input_ids[row, columns] = torch.tensor(sequence)
        attention_mask[row, columns] = 1
    return input_ids, attention_mask
