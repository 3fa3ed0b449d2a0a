"""The processor: the reference's ids, batches, errors, keyword arguments, saving, and splitting of generated ids."""

import inspect
import json
from pathlib import Path

import av
import jinja2
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, AutoVideoProcessor
from transformers.video_utils import VideoMetadata

from transformers_videolavit import (
    VideoLaVITConfig,
    VideoLaVITImageProcessor,
    VideoLaVITProcessor,
    VideoLaVITVideoProcessor,
)
from transformers_videolavit.tokenization_videolavit import build_videolavit_tokenizer


TINY = Path(__file__).parents[1] / "fixtures" / "tiny"
CONVERSATIONS = json.loads((TINY / "conversations.json").read_text())
CHATS = [conversation for conversation in CONVERSATIONS if conversation["kind"] != "generation"]
PROMPTS = [conversation for conversation in CONVERSATIONS if conversation["kind"] == "generation"]
NUM_IMAGE_TOKENS, NUM_MOTION_TOKENS = 16, 135
NUM_CLIP_TOKENS = NUM_IMAGE_TOKENS + NUM_MOTION_TOKENS
IMAGE_BLOCK = [32000, *[257] * NUM_IMAGE_TOKENS, 32001]
CLIP_BLOCK = [32000, *[258] * NUM_IMAGE_TOKENS, 32001, 48386, *[258] * NUM_MOTION_TOKENS, 48387]


@pytest.fixture(scope="module")
def tokenizer():
    return build_videolavit_tokenizer(TINY / "checkpoint" / "language_model" / "tokenizer.model")


@pytest.fixture(scope="module")
def processor(tokenizer):
    size = {"height": 56, "width": 56}
    return VideoLaVITProcessor(
        VideoLaVITImageProcessor(size=size),
        tokenizer,
        VideoLaVITVideoProcessor(size=size),
        num_image_tokens=NUM_IMAGE_TOKENS,
    )


@pytest.fixture(scope="module")
def saved(processor, tmp_path_factory):
    path = tmp_path_factory.mktemp("processor")
    processor.save_pretrained(path)
    return path


def moving_frames(num_frames):
    """RGB frames of 64×48 pixels with a square that moves over noise."""
    frames = np.repeat(np.random.default_rng(0).integers(0, 80, (1, 48, 64, 3), dtype=np.uint8), num_frames, axis=0)
    for index, frame in enumerate(frames):
        left = index % 40
        frame[10:26, left : left + 16] = (200, 180, 40)
    return frames


def write_video(path, num_frames):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=6, width=64, height=48, pix_fmt="yuv420p")
        for frame in moving_frames(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of ten seconds: two clips."""
    return write_video(tmp_path_factory.mktemp("videos") / "long.mp4", 60)


@pytest.fixture(scope="module")
def short_video(tmp_path_factory):
    """A video of four seconds: one clip."""
    return write_video(tmp_path_factory.mktemp("videos") / "short.mp4", 24)


@pytest.fixture(scope="module")
def image():
    return Image.fromarray(moving_frames(1)[0])


def messages_of(conversation, video, image):
    blocks = {"video": [{"type": "video", "path": video}], "image": [{"type": "image", "image": image}], "text": []}
    turns = conversation.get("turns", [["user", conversation.get("question")]])
    messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    messages[0]["content"] = blocks[conversation["kind"]] + messages[0]["content"]
    return messages


def expand(ids, num_clips):
    blocks = {-200: IMAGE_BLOCK, -201: CLIP_BLOCK * num_clips}
    return [token_id for mark in ids for token_id in blocks.get(mark, [mark])]


def chat_inputs(processor, messages, **kwargs):
    return processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt", **kwargs)


# Prompts


@pytest.mark.parametrize("conversation", CHATS, ids=lambda conversation: conversation["kind"])
def test_conversations_have_the_reference_prompt_and_ids(processor, conversation, video, image):
    messages = messages_of(conversation, video, image)
    assert processor.apply_chat_template(messages, add_generation_prompt=True) == conversation["prompt"]
    inputs = chat_inputs(processor, messages, add_generation_prompt=True)
    num_clips = inputs["num_clips"].tolist() if "num_clips" in inputs else []
    assert num_clips == ([2] if conversation["kind"] == "video" else [])
    expected = expand(conversation["input_ids"], sum(num_clips))
    assert inputs["input_ids"].tolist() == [expected]
    assert inputs["attention_mask"].tolist() == [[1] * len(expected)]

    expanded = processor.expand_placeholders(conversation["input_ids"], num_clips=num_clips)
    assert set(expanded) == {"input_ids", "attention_mask"}
    for name, tensor in expanded.items():
        assert torch.equal(tensor, inputs[name])


@pytest.mark.parametrize("generation_mode", ["image", "video"])
def test_generation_prompts_have_no_bos_and_are_padded_on_the_left(processor, generation_mode):
    texts = [conversation["prompt"] for conversation in PROMPTS]
    inputs = processor(text=texts, generation_mode=generation_mode, return_tensors="pt")
    rows = [row[mask.bool()].tolist() for row, mask in zip(inputs["input_ids"], inputs["attention_mask"])]
    assert rows == [conversation["input_ids"] for conversation in PROMPTS]
    assert inputs["attention_mask"][:, -1].tolist() == [1, 1]

    nested = processor(text=texts[0], generation_mode=generation_mode, text_kwargs={"add_special_tokens": True})
    assert nested["input_ids"] == [[1, *PROMPTS[0]["input_ids"]]]


def test_text_has_one_bos(processor, tokenizer):
    ids = processor(text="A man and a dog.")["input_ids"][0]
    assert ids == tokenizer("A man and a dog.")["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id


def test_chat_template_variants(processor):
    def render(*messages, **kwargs):
        return processor.apply_chat_template(
            [{"role": role, "content": content} for role, content in messages], **kwargs
        )

    text, image, video = {"type": "text", "text": "What?"}, {"type": "image"}, {"type": "video"}
    assert render(("system", "Be brief."), ("user", "Hi")) == "Be brief. USER: Hi "
    assert render(("system", [{"type": "text", "text": ""}]), ("user", [text])) == "USER: What? "
    # Visuals come before the question, in their order.
    assert render(("system", ""), ("user", [text, video, image, text])) == "USER: <video>\n<image>\nWhat?What? "
    answered = render(("system", ""), ("user", "Hi"), ("assistant", "Hello."))
    assert answered == "USER: Hi ASSISTANT: Hello. \\n </s>"
    continued = render(("system", ""), ("user", "Hi"), ("assistant", "Hel"), continue_final_message=True)
    assert continued == "USER: Hi ASSISTANT: Hel"
    assert render(("user", "Hi"), add_generation_prompt=True).endswith("questions. USER: Hi ASSISTANT:")
    with pytest.raises(jinja2.TemplateError, match="Unknown content type: audio"):
        render(("user", [{"type": "audio"}]))
    with pytest.raises(jinja2.TemplateError, match="not tool"):
        render(("user", "Hi"), ("tool", "3"))


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_assistant_mask_covers_the_answers(processor, tokenizer, video, image, padding_side):
    dialogue = [*messages_of(CHATS[-1], video, image), {"role": "assistant", "content": "They play, déjà vu 🙂."}]
    short = [*messages_of(CHATS[1], video, image), {"role": "assistant", "content": "Nothing."}]
    inputs = chat_inputs(
        processor,
        [dialogue, short],
        return_assistant_tokens_mask=True,
        processor_kwargs={"padding_side": padding_side},
    )
    masks = inputs["assistant_masks"]
    assert masks.shape == inputs["input_ids"].shape
    answers = [tokenizer.decode(ids[mask.bool()]) for ids, mask in zip(inputs["input_ids"], masks)]
    assert answers == [
        "A man and a dog. \\n </s> They play, déjà vu 🙂. \\n </s>",
        "Nothing. \\n </s>",
    ]
    assert not (masks.bool() & ~inputs["attention_mask"].bool()).any()


def test_user_text_cannot_write_placeholders(processor, tokenizer, video, image):
    content = [{"type": "image", "image": image}, {"type": "text", "text": "What is <image> or [IMG] or </s>?"}]
    messages = [{"role": "user", "content": content}]
    with pytest.raises(ValueError, match="2 <image> marks.* 1 images"):
        chat_inputs(processor, messages)
    ids = chat_inputs(processor, messages, sanitize_control_tokens=True)["input_ids"][0].tolist()
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids.count(tokenizer.eos_token_id) == 0
    assert ids.count(tokenizer.image_start_token_id) == 1
    assert ids.count(tokenizer.image_token_id) == NUM_IMAGE_TOKENS
    assert tokenizer.decode(ids, skip_special_tokens=True).endswith("What is <image> or [IMG] or </s>? ")

    harmless = messages_of(CHATS[0], video, image)
    sanitized = chat_inputs(processor, harmless, sanitize_control_tokens=True)
    assert torch.equal(sanitized["input_ids"], chat_inputs(processor, harmless)["input_ids"])


# Batches


def test_batch_equals_its_members(processor, video, short_video, image):
    batch = [
        messages_of(CHATS[4], None, None),
        messages_of(CHATS[0], video, None),
        messages_of(CHATS[1], None, image),
        [
            {
                "role": "user",
                "content": [
                    {"type": "video", "path": short_video},
                    {"type": "image", "image": image},
                    {"type": "video", "path": video},
                    {"type": "text", "text": "Compare."},
                ],
            }
        ],
    ]
    inputs = chat_inputs(processor, batch, add_generation_prompt=True)
    singles = [chat_inputs(processor, messages, add_generation_prompt=True) for messages in batch]
    assert inputs["num_clips"].tolist() == [2, 1, 2]
    assert inputs["num_clips"].dtype == torch.int64
    for row, mask, single in zip(inputs["input_ids"], inputs["attention_mask"], singles):
        assert row[mask.bool()].tolist() == single["input_ids"][0].tolist()
        assert mask[-1] == 1
    for name in ("pixel_values", "pixel_values_videos", "motion_vectors", "num_clips"):
        assert torch.equal(inputs[name], torch.cat([single[name] for single in singles if name in single]))


def test_layouts_of_visuals_are_equivalent(processor, video, short_video, image):
    frames = moving_frames(24)
    metadata = VideoMetadata(total_num_frames=24, fps=6.0, width=64, height=48, duration=4.0)
    texts = ["<image> one", "none", "<video> two <image>"]
    expected = processor(
        text=texts, images=[[image], [], [image]], videos=[[], [], [video]], return_tensors="pt", padding=True
    )
    flat = processor(text=texts, images=[image, image], videos=[Path(video).read_bytes()], return_tensors="pt")
    as_array = processor(text=texts, images=[np.array(image)] * 2, videos=video, return_tensors="pt")
    for inputs in (flat, as_array):
        assert {name: tensor.tolist() for name, tensor in inputs.items()} == {
            name: tensor.tolist() for name, tensor in expected.items()
        }

    with open(short_video, "rb") as file:
        mixed = processor(text=["<video>", "<video>"], videos=[file, Path(short_video)], return_tensors="pt")
    assert mixed["num_clips"].tolist() == [1, 1]
    assert torch.equal(mixed["motion_vectors"][0], mixed["motion_vectors"][1])

    one = processor(text="<video>", videos=frames, video_metadata=[metadata], return_tensors="pt")
    several = processor(
        text=["<video>", "<video><video>"],
        videos=[[frames], [list(frames), torch.from_numpy(frames).permute(0, 3, 1, 2)]],
        video_metadata=[metadata] * 3,
        return_tensors="pt",
    )
    assert several["num_clips"].tolist() == [1, 1, 1]
    for motion_vectors in several["motion_vectors"]:
        assert torch.equal(motion_vectors, one["motion_vectors"][0])


def test_frames_can_be_image_files(processor, tmp_path):
    frames = moving_frames(24)
    paths = [str(tmp_path / f"{index:02}.png") for index in range(len(frames))]
    for path, frame in zip(paths, frames):
        Image.fromarray(frame).save(path)
    messages = [{"role": "user", "content": [{"type": "video", "path": paths}, {"type": "text", "text": "What?"}]}]
    inputs = chat_inputs(processor, messages, processor_kwargs={"do_sample_frames": False})
    from_array = processor(text="<video>", videos=frames, do_sample_frames=False, return_tensors="pt")
    assert inputs["num_clips"].tolist() == [1]
    assert torch.equal(inputs["motion_vectors"], from_array["motion_vectors"])


def test_no_visuals_at_all(processor):
    inputs = processor(text=["a", "b"], images=[[], []], videos=[[], []])
    assert set(inputs) == {"input_ids", "attention_mask"}


def test_model_input_names_are_the_returned_keys(processor, video, image):
    inputs = processor(text="<image> and <video>", images=image, videos=video, return_tensors="pt")
    assert set(inputs) == set(processor.model_input_names)
    assert inputs["pixel_values"].shape == (1, 3, 56, 56)
    assert inputs["pixel_values_videos"].shape == (2, 3, 56, 56)
    assert inputs["motion_vectors"].shape == (2, 2, 24, 20, 36)
    visuals = processor(images=image, videos=video, return_tensors="pt")
    assert set(visuals) == {"pixel_values", "pixel_values_videos", "motion_vectors", "num_clips"}


def test_token_types_and_replacement_offsets(processor, video, image):
    text = "a <image> b <video>"
    inputs = processor(
        text=text, images=image, videos=video, return_mm_token_type_ids=True, return_text_replacement_offsets=True
    )
    types = np.array(inputs["mm_token_type_ids"][0])
    ids = np.array(inputs["input_ids"][0])
    assert (types == 1).sum() == NUM_IMAGE_TOKENS
    assert (types == 2).sum() == 2 * NUM_CLIP_TOKENS
    assert np.array_equal(types == 1, ids == processor.image_token_id)
    assert np.array_equal(types == 2, ids == processor.video_token_id)

    image_text = processor.replace_image_token({}, image_idx=0)
    video_text = processor.replace_video_token({"num_clips": [3, 2]}, video_idx=1)
    image_offset, video_offset = inputs["text_replacement_offsets"][0]
    assert (image_offset["type"], image_offset["span"], image_offset["replacement"]) == ("image", (2, 9), image_text)
    assert (video_offset["type"], video_offset["span"], video_offset["replacement"]) == ("video", (12, 19), video_text)
    assert image_offset["new_span"] == (2, 2 + len(image_text))
    start = len("a ") + len(image_text) + len(" b ")
    assert video_offset["new_span"] == (start, start + len(video_text))


def test_number_of_placeholders_is_that_of_a_call(processor):
    image_sizes = [(100, 100), (300, 120), (50, 30)]
    video_sizes = [(5, 48, 64), (24, 48, 64), (60, 48, 64), (150, 48, 64)]
    numbers = processor._get_num_multimodal_tokens(image_sizes=image_sizes, video_sizes=video_sizes)
    inputs = processor(
        text=["<image>"] * len(image_sizes) + ["<video>"] * len(video_sizes),
        images=[np.zeros((*size, 3), dtype=np.uint8) for size in image_sizes],
        videos=[moving_frames(num_frames) for num_frames, _, _ in video_sizes],
        video_metadata=[{"total_num_frames": num_frames, "fps": 6.0} for num_frames, _, _ in video_sizes],
        return_mm_token_type_ids=True,
        return_tensors="pt",
    )
    types = inputs["mm_token_type_ids"]
    assert (types == 1).sum(-1).tolist()[: len(image_sizes)] == numbers["num_image_tokens"]
    assert (types == 2).sum(-1).tolist()[len(image_sizes) :] == numbers["num_video_tokens"]
    assert numbers["num_image_patches"] == [1] * inputs["pixel_values"].shape[0]


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "<image> and <image>", "images": 1}, "2 <image> marks.* 1 images"),
        ({"text": "no mark", "images": 1}, "0 <image> marks.* 1 images"),
        ({"text": ["<image>", "b"]}, "1 <image> marks.* 0 images"),
        ({"text": ["<video>", "<video> <video>"], "videos": 1}, "3 <video> marks.* 1 videos"),
        ({"text": "no mark", "videos": 2}, "0 <video> marks.* 2 videos"),
        ({"text": ["<video>"]}, "1 <video> marks.* 0 videos"),
        ({"text": [["tokens", "of", "words"]]}, "`text` must be a string or a list of strings"),
        ({"text": "a", "generation_mode": "gif"}, "`generation_mode` must be one of text, image, video.*'gif'"),
        ({}, "at least one of `images`, `text` and `videos`"),
        ({"text": "a", "audio": [0.0]}, "no `audio`"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(processor, short_video, image, arguments, message):
    visuals = {"images": image, "videos": short_video}
    arguments = {name: [visuals[name]] * value if name in visuals else value for name, value in arguments.items()}
    with pytest.raises(ValueError, match=message):
        processor(**arguments)


def test_truncated_placeholders_are_refused(processor, image):
    with pytest.raises(ValueError, match="Mismatch in `image` token count"):
        processor(text="<image>", images=image, truncation=True, max_length=10)


@pytest.mark.parametrize(
    ("ids", "num_clips", "message"),
    [
        ([1, -201, 5], None, "1 video marks.* 0 videos"),
        ([1, -201, 5, -201], [2], "2 video marks.* 1 videos"),
        ([1, -200, 5], [2], "0 video marks.* 1 videos"),
        ([1, -201], [0], "`num_clips` must be positive.*0"),
        ([1, -202], None, "-202, which is neither a token"),
        ([1, 49412], None, "49412, which is neither a token"),
        ([[1, 2], [3, 4]], None, r"one sequence of integers.*\(2, 2\)"),
        ([1.0, 2.0], None, "one sequence of integers.*float"),
    ],
)
def test_ids_that_do_not_fit_are_refused(processor, ids, num_clips, message):
    with pytest.raises(ValueError, match=message):
        processor.expand_placeholders(ids, num_clips=num_clips)


# Ids with marks


@pytest.mark.parametrize("form", [list, np.array, torch.tensor, lambda ids: torch.tensor([ids])])
def test_expand_placeholders_takes_every_form(processor, form):
    ids = form([1, 5, -201, 6, -200, 7, -201])
    expected = [1, 5, *CLIP_BLOCK * 2, 6, *IMAGE_BLOCK, 7, *CLIP_BLOCK * 3]
    for num_clips in ([2, 3], np.array([2, 3]), torch.tensor([2, 3])):
        inputs = processor.expand_placeholders(ids, num_clips=num_clips)
        assert inputs["input_ids"].tolist() == [expected]
        assert inputs["input_ids"].dtype == torch.int64
        assert inputs["attention_mask"].tolist() == [[1] * len(expected)]
    same = processor.expand_placeholders(ids, num_clips=2)
    assert same["input_ids"].tolist() == [[1, 5, *CLIP_BLOCK * 2, 6, *IMAGE_BLOCK, 7, *CLIP_BLOCK * 2]]


def test_placeholders_are_those_of_the_default_config(processor):
    config = VideoLaVITConfig()
    parameters = inspect.signature(VideoLaVITProcessor).parameters
    assert parameters["num_image_tokens"].default == config.num_image_tokens
    assert parameters["num_motion_tokens"].default == config.motion_tokenizer_config.num_motion_tokens
    assert processor.image_token_id == config.image_token_id
    assert processor.video_token_id == config.video_token_id


# Generated ids


def segments_as_lists(sequences):
    return [
        [(kind, content if isinstance(content, str) else content.tolist()) for kind, content in segments]
        for segments in sequences
    ]


def test_generated_ids_are_split_into_segments(processor, tokenizer):
    def encode(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    motion = list(range(135))
    clip = [32000, 32002, 48385, 32001, 48386, *[48388 + code for code in motion], 48387]
    rows = [
        [0, 0, *encode("a lake"), *clip, *clip],
        [1, *encode("USER: "), *IMAGE_BLOCK, *encode("\nWhat? ASSISTANT:"), *encode("A man."), 2],
    ]
    length = max(len(row) for row in rows)
    padded = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    segments = processor.post_process_multimodal_output(padded)
    codes = [("image", [0, 16383]), ("motion", motion)]
    assert segments_as_lists(segments) == [
        [("text", "a lake"), *codes, *codes],
        [("text", "USER: "), ("text", "\nWhat? ASSISTANT: A man.")],
    ]
    assert segments[0][1][1].dtype == torch.int64
    assert segments_as_lists(processor.post_process_multimodal_output(rows)) == segments_as_lists(segments)
    assert segments_as_lists(processor.post_process_multimodal_output(padded.numpy())) == segments_as_lists(segments)
    assert segments_as_lists(processor.post_process_multimodal_output(padded[0])) == segments_as_lists(segments[:1])
    assert segments_as_lists(processor.post_process_multimodal_output(rows[0])) == segments_as_lists(segments[:1])
    assert processor.post_process_multimodal_output(padded[:0]) == []

    with_special = processor.post_process_multimodal_output(padded, skip_special_tokens=False)
    assert with_special[1] == [("text", "<s> USER: "), ("text", "\nWhat? ASSISTANT: A man.</s>")]
    as_text = processor.post_process_multimodal_output(padded, generation_mode="text")
    assert as_text == ["a lake", "USER:  \nWhat? ASSISTANT: A man."]


@pytest.mark.parametrize(
    ("ids", "segments"),
    [
        ([], []),
        ([0, 0, 1, 2, 0], []),
        ([32000, 32001, 48386, 48387], []),
        ([32000, 32005], [("image", [3])]),
        ([32005, 32006, 48390], [("image", [3, 4]), ("motion", [2])]),
        ([32000, 32005, 32000, 32006, 32001, 32007], [("image", [3]), ("image", [4]), ("image", [5])]),
        ([48386, 48388, 48387, 48389], [("motion", [0]), ("motion", [1])]),
        ([32000, *[257] * NUM_IMAGE_TOKENS, 32001, 32000, 32002, 32001], [("image", [0])]),
        (CLIP_BLOCK, []),
    ],
)
def test_incomplete_blocks_give_what_they_have(processor, ids, segments):
    assert segments_as_lists(processor.post_process_multimodal_output([ids])) == [segments]


def test_tokens_added_to_the_vocabulary_are_text(processor, tmp_path):
    processor.tokenizer.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens(["<think>", "</think>"])
    extended = VideoLaVITProcessor(processor.image_processor, tokenizer, processor.video_processor)
    ids = tokenizer("<think> a lake </think> water[MOV]<motion_0><motion_1023>[/MOV]<think>")["input_ids"]
    assert {49412, 49413} <= set(ids)
    assert segments_as_lists(extended.post_process_multimodal_output([ids])) == [
        [("text", "<think> a lake </think> water"), ("motion", [0, 1023]), ("text", "<think>")]
    ]
    assert extended.post_process_image_text_to_text([ids[:-5]]) == ["<think> a lake </think> water"]


def test_unknown_generation_mode_of_generated_ids_is_refused(processor):
    with pytest.raises(ValueError, match=r"`generation_mode` must be None or one of text, image, video.*'audio'"):
        processor.post_process_multimodal_output([[1]], generation_mode="audio")


def test_codes_can_be_written_in_a_prompt(processor):
    ids = processor(text="[IMG]<visual_0><visual_16383>[/IMG] a lake", generation_mode="video")["input_ids"]
    assert segments_as_lists(processor.post_process_multimodal_output(ids)) == [
        [("image", [0, 16383]), ("text", " a lake")]
    ]


# Keyword arguments


def test_keyword_arguments_have_the_right_precedence(processor, tokenizer, saved, image):
    def length(*components, **kwargs):
        inputs = VideoLaVITProcessor(*components, num_image_tokens=NUM_IMAGE_TOKENS)(text="<image> a", **kwargs)
        return len(inputs["input_ids"][0])

    components = (processor.image_processor, tokenizer, processor.video_processor)
    unpadded = length(*components, images=image)
    assert length(*components, images=image, padding="max_length", max_length=40) == 40
    nested = {"text_kwargs": {"padding": "max_length", "max_length": 41}}
    assert length(*components, images=image, **nested) == 41

    padding_tokenizer = AutoTokenizer.from_pretrained(saved, padding="max_length", max_length=42)
    components = (processor.image_processor, padding_tokenizer, processor.video_processor)
    assert length(*components, images=image) == 42
    assert length(*components, images=image, padding=False) == unpadded


def test_visual_arguments_reach_their_processors(processor, video, image):
    def mean(**kwargs):
        inputs = processor(text="<image><video>", images=image, videos=video, return_tensors="pt", **kwargs)
        return inputs["pixel_values"].mean(), inputs["pixel_values_videos"].mean()

    plain = mean()
    raw = mean(do_normalize=False)
    assert all(value != other for value, other in zip(plain, raw))
    image_only = mean(images_kwargs={"do_normalize": False})
    assert image_only == (raw[0], plain[1])
    video_only = mean(videos_kwargs={"do_normalize": False})
    assert video_only == (plain[0], raw[1])
    one_clip = processor(text="<video>", videos=video, max_clips=1)
    assert list(one_clip["num_clips"]) == [1]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"padding": True, "text_kwargs": {"padding": False}},
        {"do_normalize": False, "images_kwargs": {"do_normalize": True}},
        {"max_clips": 2, "videos_kwargs": {"max_clips": 3}},
    ],
)
def test_the_same_argument_twice_is_refused(processor, video, image, kwargs):
    with pytest.raises(ValueError, match="was passed two times"):
        processor(text="<image><video>", images=image, videos=video, **kwargs)


# Saving


def test_save_and_load(processor, saved, video, image):
    loaded = AutoProcessor.from_pretrained(saved)
    assert isinstance(loaded, VideoLaVITProcessor)
    assert loaded.to_dict() == processor.to_dict()
    assert loaded.num_image_tokens == NUM_IMAGE_TOKENS
    assert loaded.chat_template == processor.chat_template
    arguments = {"text": "<image> and <video>", "images": image, "videos": video, "return_tensors": "pt"}
    expected = processor(**arguments)
    for name, tensor in loaded(**arguments).items():
        assert torch.equal(tensor, expected[name])


def test_parts_load_alone(processor, saved):
    image_processor = AutoImageProcessor.from_pretrained(saved)
    video_processor = AutoVideoProcessor.from_pretrained(saved)
    tokenizer = AutoTokenizer.from_pretrained(saved)
    assert image_processor.to_dict() == processor.image_processor.to_dict()
    assert isinstance(video_processor, VideoLaVITVideoProcessor)
    assert video_processor.to_dict() == processor.video_processor.to_dict()
    assert tokenizer.backend_tokenizer.to_str() == processor.tokenizer.backend_tokenizer.to_str()
    from_parts = VideoLaVITProcessor(image_processor, tokenizer, video_processor, num_image_tokens=NUM_IMAGE_TOKENS)
    assert from_parts.to_dict() == processor.to_dict()
    assert from_parts.chat_template == processor.chat_template
    overridden = AutoProcessor.from_pretrained(saved, do_normalize=False, num_image_tokens=4)
    assert not overridden.image_processor.do_normalize
    assert overridden.num_image_tokens == 4


def test_chat_templates_are_saved_as_jinja(processor, saved, tmp_path):
    assert (saved / "chat_template.jinja").read_text() == processor.chat_template
    assert "chat_template" not in json.loads((saved / "processor_config.json").read_text())

    named = AutoProcessor.from_pretrained(saved)
    named.chat_template = {"default": processor.chat_template, "plain": "{{ messages[0]['content'] }}"}
    named.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert loaded.chat_template == named.chat_template
    messages = [{"role": "user", "content": "Hi"}]
    assert loaded.apply_chat_template(messages, chat_template="plain") == "Hi"
    assert loaded.apply_chat_template(messages) == processor.apply_chat_template(messages)

    named.chat_template = {"default": "a", "../../escape": "b"}
    with pytest.raises(ValueError, match="Invalid chat template name"):
        named.save_pretrained(tmp_path / "escape")


def test_answers_come_without_what_ends_a_turn(processor):
    tokenizer = processor.tokenizer
    ids = tokenizer([r"a red dog \n </s>", "two </s>"], add_special_tokens=False, padding=True, return_tensors="pt")
    answers = processor.post_process_image_text_to_text(ids["input_ids"])
    assert answers == ["a red dog", "two"]
    assert processor.post_process_image_text_to_text(ids["input_ids"][0]) == "a red dog"
    # Only the end of a turn is taken away.
    inside = tokenizer(r"one \n two", add_special_tokens=False)["input_ids"]
    assert processor.post_process_image_text_to_text(inside) == r"one \n two"
