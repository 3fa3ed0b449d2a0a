"""Generation of text, images and videos: the grammar, guidance, caches, batches, long videos and refusals."""

import copy

import pytest
import torch
from multimodal_inputs import IMAGE_END, IMAGE_START, MOTION_END, MOTION_START, pad_batch
from tiny_models import load_tiny_causal_lm
from transformers import GenerationConfig, TextStreamer
from transformers.generation.streamers import BaseStreamer

from transformers_videolavit.generation_videolavit import SamplingArguments, TextLogitsProcessor


NUM_MOTION_TOKENS = 135


@pytest.fixture(scope="module")
def language_model():
    """The pre-trained checkpoint, which generates."""
    return load_tiny_causal_lm(instruction_tuned=False).eval()


@pytest.fixture
def prompts():
    return pad_batch([[11, 12, 13, 14, 15], [21, 22, 23]], "left")


def split_clips(ids, config):
    """The codes of each clip of one generated sequence; fails where the sequence breaks the grammar."""
    ids = ids.tolist()
    clips = []
    while ids and ids[0] != config.pad_token_id:
        assert ids.pop(0) == IMAGE_START
        end = ids.index(IMAGE_END)
        visual, ids = [token - config.visual_code_offset for token in ids[:end]], ids[end + 1 :]
        motion = None
        if ids and ids[0] == MOTION_START:
            motion, end = [token - config.motion_code_offset for token in ids[1:136]], ids[136]
            assert end == MOTION_END
            ids = ids[137:]
        clips.append((visual, motion))
    assert all(token == config.pad_token_id for token in ids)
    return clips


def test_golden_visual_and_motion_tokens(language_model, expected):
    image_ids = expected["generation/image_ids"]
    output = language_model.generate(
        expected["generation/prompt_ids"],
        generation_mode="image",
        guidance_scale=4.0,
        do_sample=False,
        min_new_tokens=24,
        max_new_tokens=24,
    )
    assert output[0].tolist() == [*image_ids[0].tolist(), IMAGE_END]
    # The reference goes from the 24th visual token straight to the motion.
    output = language_model.generate(image_ids, generation_mode="video", motion_guidance_scale=7.0)
    assert output[0].tolist() == [*expected["generation/motion_ids"][0].tolist(), MOTION_END]


def test_grammar_of_a_batch_of_videos(language_model, prompts):
    config = language_model.config
    input_ids, attention_mask = prompts
    generator = torch.Generator().manual_seed(0)
    output = language_model.generate(
        input_ids,
        attention_mask=attention_mask,
        generation_mode="video",
        num_clips=2,
        num_return_sequences=2,
        min_new_tokens=1,
        max_new_tokens=12,
        generator=generator,
    )
    assert output.shape[0] == 4
    assert torch.equal(output[:, :5], input_ids.repeat_interleave(2, dim=0))
    for row in output[:, 5:]:
        clips = split_clips(row, config)
        assert len(clips) == 2
        for visual, motion in clips:
            assert 1 <= len(visual) <= 12
            assert all(0 <= code < config.num_visual_codes for code in visual)
            assert len(motion) == NUM_MOTION_TOKENS
            assert all(0 <= code < config.num_motion_codes for code in motion)


def test_an_image_never_exceeds_the_grammar(language_model):
    output = language_model.generate(
        torch.tensor([[5, 6]]), generation_mode="image", min_new_tokens=256, max_new_tokens=1000, top_k=1
    )
    ((visual, motion),) = split_clips(output[0, 2:], language_model.config)
    assert len(visual) == 256 and motion is None


def test_text_suppresses_visual_and_motion_tokens(model):
    with torch.no_grad():
        bias = torch.zeros(49412)
        model.lm_head.bias = torch.nn.Parameter(
            bias.index_fill(0, torch.tensor([257, 258, 32000, 40000, 49000]), 100.0)
        )
        try:
            output = model.generate(torch.tensor([[1, 5, 6]]), max_new_tokens=8, do_sample=True, eos_token_id=None)
        finally:
            model.lm_head.bias = None
    new_ids = output[0, 3:]
    assert len(new_ids) == 8
    assert new_ids.max() < 32000 and not set(new_ids.tolist()) & {257, 258}


def test_tokens_added_to_the_vocabulary_are_generated_as_text():
    model = load_tiny_causal_lm(instruction_tuned=True).eval()
    model.resize_token_embeddings(49414)
    scores = torch.zeros(1, 49414)
    scores[0, [257, 32000, 49411]] = 9.0
    scores[0, 49412] = 5.0
    assert int(TextLogitsProcessor(model.config)(None, scores).argmax()) == 49412
    with torch.no_grad():
        model.lm_head.bias = torch.nn.Parameter(torch.zeros(49414).index_fill(0, torch.tensor([49413]), 100.0))
    assert model.generate(torch.tensor([[1, 5, 6]]), max_new_tokens=3)[0, 3:].tolist() == [49413] * 3


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_guidance_equals_two_separate_passes(language_model, guidance_scale):
    """Log-probabilities of both contexts, the unconditional one being the start token alone."""
    config = language_model.config
    prompt = torch.tensor([[11, 12, 13]])
    output = language_model.generate(
        prompt,
        generation_mode="video",
        do_sample=False,
        guidance_scale=guidance_scale,
        motion_guidance_scale=guidance_scale,
        min_new_tokens=6,
        max_new_tokens=6,
    )[0]

    def check(context, tokens, allowed):
        for index, token in enumerate(tokens):
            scores = [
                language_model(torch.tensor([start + tokens[:index]])).logits[0, -1].log_softmax(-1)
                for start in (context, context[-1:])
            ]
            guided = scores[1] + guidance_scale * (scores[0] - scores[1])
            assert int(guided[allowed].argmax()) + allowed.start == token

    with torch.no_grad():
        ids = output.tolist()
        check(ids[:4], ids[4:10], slice(config.visual_code_offset, config.motion_start_token_id))
        check(ids[:12], ids[12:20], slice(config.motion_code_offset, 49412))


@pytest.mark.parametrize("mode", ["image", "video"])
def test_batch_equals_singles(language_model, prompts, mode):
    input_ids, attention_mask = prompts
    arguments = {"generation_mode": mode, "do_sample": False, "min_new_tokens": 1, "max_new_tokens": 8}
    batch = language_model.generate(input_ids, attention_mask=attention_mask, **arguments)
    for row in range(2):
        single = language_model.generate(input_ids[row : row + 1][:, attention_mask[row].bool()], **arguments)
        new_ids = single[0, int(attention_mask[row].sum()) :]
        assert torch.equal(batch[row, 5 : 5 + len(new_ids)], new_ids)
        assert (batch[row, 5 + len(new_ids) :] == 0).all()


def test_batch_of_visual_prompts_equals_singles(model, mixed, visuals):
    input_ids, attention_mask = pad_batch(mixed[0], "left")
    arguments = {"generation_mode": "video", "do_sample": False, "min_new_tokens": 5, "max_new_tokens": 5}
    batch = model.generate(input_ids, attention_mask=attention_mask, **visuals, **arguments)
    for row, (sequence, alone) in enumerate(zip(*mixed)):
        single = model.generate(torch.tensor([sequence]), **alone, **arguments)
        assert torch.equal(batch[row, input_ids.shape[1] :], single[0, len(sequence) :])


def test_generators_make_sampling_reproducible(language_model, prompts):
    input_ids, attention_mask = prompts
    arguments = {
        "attention_mask": attention_mask,
        "generation_mode": "image",
        "min_new_tokens": 8,
        "max_new_tokens": 8,
    }
    first, second, other = (
        language_model.generate(input_ids, generator=torch.Generator().manual_seed(seed), **arguments)
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    batch = language_model.generate(input_ids, generator=generators, **arguments)
    alone = language_model.generate(
        input_ids[:1], generator=[torch.Generator().manual_seed(1)], **{**arguments, "attention_mask": None}
    )
    assert torch.equal(batch[:1], alone)


def test_a_sequence_whose_keyframe_ended_early_draws_no_more_than_alone(prompts):
    model = load_tiny_causal_lm(instruction_tuned=False).eval()
    with torch.no_grad():
        model.lm_head.weight[IMAGE_END] *= 6
    input_ids, attention_mask = prompts
    arguments = {"generation_mode": "video", "motion_do_sample": True, "min_new_tokens": 1, "max_new_tokens": 12}
    batch = model.generate(
        input_ids,
        attention_mask=attention_mask,
        generator=[torch.Generator().manual_seed(seed) for seed in range(2)],
        **arguments,
    )
    clips = [split_clips(row[5:], model.config) for row in batch]
    ((short, _),), ((long, _),) = sorted(clips, key=lambda row: len(row[0][0]))
    assert len(short) < len(long)
    for row in range(2):
        prompt = input_ids[row][attention_mask[row].bool()]
        alone = model.generate(prompt[None], generator=torch.Generator().manual_seed(row), **arguments)
        assert split_clips(alone[0, len(prompt) :], model.config) == clips[row]


@pytest.mark.parametrize("settings", [{}, {"top_k": 50}, {"top_p": 0.9}])
def test_rounding_of_scores_does_not_change_what_a_seed_draws(settings):
    generator = torch.Generator().manual_seed(0)
    # Pairs that are nearly the same: rounding changes their order.
    scores = torch.rand(64, 128, generator=generator).repeat_interleave(2, dim=1)
    rounded = [scores + 1e-6 * torch.rand(scores.shape, generator=generator) for _ in range(2)]
    assert not torch.equal(*(each.argsort(dim=1) for each in rounded))
    arguments = SamplingArguments(do_sample=True, guidance_scale=1.0, **settings)
    for make in (
        lambda: torch.Generator().manual_seed(1),
        lambda: [torch.Generator().manual_seed(i) for i in range(64)],
    ):
        first, second = (arguments.choose(each, make()) for each in rounded)
        # At the border of `top_k` and `top_p` one of a pair takes the other's place.
        assert (first == second).float().mean() > 0.95


def test_text_generator_leaves_the_global_one_alone(model):
    prompt = torch.tensor([[1, 5, 6]])
    state = torch.get_rng_state()
    arguments = {"do_sample": True, "max_new_tokens": 8, "eos_token_id": None}
    outputs = [
        model.generate(prompt, generator=torch.Generator().manual_seed(seed), **arguments) for seed in (1, 1, 2)
    ]
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_checkpoint_carries_its_guidance_and_least_number_of_visual_tokens(language_model, tmp_path):
    prompt = torch.tensor([[11, 12, 13]])
    own = {"visual_guidance_scale": 1.5, "motion_guidance_scale": 2.5, "min_visual_tokens": 3}
    limit = {"max_new_tokens": 6, "do_sample": False}
    text = language_model.generate(prompt, **limit)
    published = language_model.generate(prompt, generation_mode="video", **limit)
    arguments = {"guidance_scale": 1.5, "motion_guidance_scale": 2.5, "min_new_tokens": 3, **limit}
    asked = language_model.generate(prompt, generation_mode="video", **arguments)
    assert not torch.equal(asked, published)
    language_model.save_pretrained(tmp_path)
    GenerationConfig.from_pretrained(tmp_path, _from_model_config=False, **own).save_pretrained(tmp_path)
    loaded = type(language_model).from_pretrained(tmp_path)
    assert torch.equal(loaded.generate(prompt, generation_mode="video", **limit), asked)
    assert torch.equal(loaded.generate(prompt, **limit), text)
    # What is asked for wins over it, by name or in a generation config.
    published_arguments = {"guidance_scale": 4.0, "motion_guidance_scale": 7.0, "min_new_tokens": 20}
    video = loaded.generate(prompt, generation_mode="video", **{**limit, **published_arguments, "min_new_tokens": 6})
    assert torch.equal(video, published)
    config = GenerationConfig(visual_guidance_scale=4.0, motion_guidance_scale=7.0, min_visual_tokens=20)
    assert torch.equal(loaded.generate(prompt, config, generation_mode="video", **limit), published)


def test_a_checkpoint_carries_the_temperature_of_visual_tokens(language_model):
    prompt = torch.tensor([[11, 12, 13]])
    generation = language_model.generation_config

    def image(config=None, **settings):
        limits = {"min_new_tokens": 6, "max_new_tokens": 6, "generator": torch.Generator().manual_seed(0)}
        return language_model.generate(prompt, config, generation_mode="image", **limits, **settings)

    text = {"do_sample": True, "max_new_tokens": 6}
    published = image()
    greedy, cold = image(do_sample=False), image(temperature=1e-4)
    torch.manual_seed(0)
    published_text = language_model.generate(prompt, **text)
    assert torch.equal(cold, greedy) and not torch.equal(cold, published)
    generation.visual_temperature = 1e-4
    try:
        assert torch.equal(image(), cold)
        torch.manual_seed(0)
        assert torch.equal(language_model.generate(prompt, **text), published_text)
        # What is asked for wins over it, by name or in a generation config.
        assert torch.equal(image(temperature=1.0), published)
        assert torch.equal(image(GenerationConfig(visual_temperature=1.0)), published)
        assert torch.equal(image(GenerationConfig(temperature=1.0)), published)
    finally:
        del generation.visual_temperature


def test_static_cache_equals_dynamic(language_model, prompts):
    input_ids, attention_mask = prompts
    arguments = {
        "attention_mask": attention_mask,
        "generation_mode": "video",
        "num_clips": 2,
        "do_sample": False,
        "min_new_tokens": 3,
        "max_new_tokens": 9,
    }
    dynamic = language_model.generate(input_ids, **arguments)
    assert torch.equal(language_model.generate(input_ids, cache_implementation="static", **arguments), dynamic)


def test_several_clips_continue_from_the_ids_so_far(language_model):
    arguments = {"generation_mode": "video", "do_sample": False, "min_new_tokens": 4, "max_new_tokens": 4}
    prompt = torch.tensor([[11, 12, 13]])
    one = language_model.generate(prompt, **arguments)
    two = language_model.generate(prompt, num_clips=2, **arguments)
    assert torch.equal(two[:, : one.shape[1]], one)
    assert torch.equal(language_model.generate(one, **arguments), two)


def test_context_window_keeps_the_prompt_and_the_latest_clips(language_model):
    arguments = {"generation_mode": "video", "do_sample": False, "min_new_tokens": 4, "max_new_tokens": 4}
    prompt = torch.tensor([[11, 12, 13]])
    text_config = language_model.config.text_config
    clip_length = 6 + 137
    window, text_config.max_position_embeddings = text_config.max_position_embeddings, 3 + 2 * clip_length
    try:
        output = language_model.generate(prompt, num_clips=4, **arguments)
        assert len(split_clips(output[0, 3:], language_model.config)) == 4
        latest = torch.cat((prompt, output[:, 3 + clip_length * 2 : 3 + clip_length * 3]), dim=1)
        continued = language_model.generate(latest, **arguments)
        assert torch.equal(continued[:, latest.shape[1] :], output[:, 3 + clip_length * 3 :])
        text_config.max_position_embeddings = 3 + clip_length - 1
        with pytest.raises(ValueError, match="max_position_embeddings"):
            language_model.generate(prompt, **arguments)
    finally:
        text_config.max_position_embeddings = window


def test_given_keyframe_is_continued_by_its_motion(language_model):
    config = language_model.config
    prompts = torch.tensor([[11, 12, 13], [21, 22, 23]])
    codes = [torch.tensor([5, 6, 7]), torch.tensor([8, 9])]
    output = language_model.generate(prompts, generation_mode="video", visual_codes=codes)
    for row in range(2):
        ((visual, motion),) = split_clips(output[row, 3:], config)
        assert visual == codes[row].tolist() and len(motion) == NUM_MOTION_TOKENS
        end = 3 + len(visual) + 2
        continued = language_model.generate(output[row : row + 1, :end], generation_mode="video")
        assert torch.equal(continued[0], output[row, : end + 137])


def test_keyframe_of_the_prompt_is_continued_by_its_motion(model, mixed):
    (sequence, _, _), (alone, _, _) = mixed
    prompt = torch.tensor([sequence[:-3]])
    output = model.generate(prompt, generation_mode="video", **alone)
    assert int(output[0, prompt.shape[1]]) == MOTION_START
    assert output.shape[1] == prompt.shape[1] + 137


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_beams": 3},
        {"prompt_lookup_num_tokens": 2},
        {"do_sample": True, "num_return_sequences": 2},
        {"cache_implementation": "static"},
        {"repetition_penalty": 1.3},
        {"use_cache": False},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_text_modes_of_transformers(model, mixed, arguments):
    (sequence, _, _), (alone, _, _) = mixed
    prompt = torch.tensor([sequence])
    arguments = {"do_sample": False, "max_new_tokens": 6, "eos_token_id": None, **arguments}
    torch.manual_seed(0)
    output = model.generate(prompt, **alone, **arguments)
    assert output.shape == (arguments.get("num_return_sequences", 1), len(sequence) + 6)
    assert torch.equal(output[0, : len(sequence)], prompt[0])
    if not {"num_beams", "num_return_sequences", "repetition_penalty"} & set(arguments):
        greedy = model.generate(prompt, **alone, do_sample=False, max_new_tokens=6, eos_token_id=None)
        assert torch.equal(output, greedy)


def test_assisted_generation(model, mixed):
    assistant = load_tiny_causal_lm(instruction_tuned=False).eval()
    prompt = torch.tensor([mixed[0][1]])
    arguments = {"do_sample": False, "max_new_tokens": 6, "eos_token_id": None}
    assert torch.equal(
        model.generate(prompt, assistant_model=assistant, **arguments), model.generate(prompt, **arguments)
    )


@pytest.mark.parametrize("kind", ["assistant", "prompt look-up"])
@pytest.mark.parametrize("index", [0, 2], ids=["image", "video and image"])
def test_candidates_behind_a_prompt_with_visuals_leave_the_answer_greedy(model, mixed, kind, index):
    # The last words occur earlier, so that the look-up has candidates at once.
    prompt = torch.tensor([[1, 40, 41, 42, 43, *mixed[0][index][1:], 40, 41]])
    visuals = mixed[1][index]
    arguments = {"do_sample": False, "max_new_tokens": 6, "eos_token_id": None}
    helper = {"assistant_model": copy.deepcopy(model)} if kind == "assistant" else {"prompt_lookup_num_tokens": 3}
    greedy = model.generate(prompt, **visuals, **arguments)
    assert torch.equal(model.generate(prompt, **visuals, **helper, **arguments), greedy)


def test_max_length_counts_the_prompt_as_given(model, mixed):
    (sequence, _, _), (alone, _, _) = mixed
    output = model.generate(torch.tensor([sequence]), max_length=len(sequence) + 3, eos_token_id=None, **alone)
    assert output.shape[1] == len(sequence) + 3


def test_outputs_on_request(model, mixed):
    (sequence, _, _), (alone, _, _) = mixed
    output = model.generate(
        torch.tensor([sequence]),
        max_new_tokens=3,
        eos_token_id=None,
        return_dict_in_generate=True,
        output_scores=True,
        **alone,
    )
    assert output.sequences.shape[1] == len(sequence) + 3
    assert len(output.scores) == 3


class RecordingStreamer(BaseStreamer):
    def __init__(self):
        self.ids, self.ended = [], False

    def put(self, value):
        self.ids.extend(value.flatten().tolist())

    def end(self):
        self.ended = True


def test_streamers(model, language_model, mixed):
    streamer = RecordingStreamer()
    prompt = torch.tensor([[11, 12]])
    output = language_model.generate(
        prompt, generation_mode="video", streamer=streamer, min_new_tokens=3, max_new_tokens=3
    )
    assert streamer.ids == output[0].tolist() and streamer.ended

    class Words:
        def decode(self, ids, **kwargs):
            return " ".join(str(token) for token in ids) + " "

    lines = []
    text = TextStreamer(Words(), skip_prompt=True)
    text.on_finalized_text = lambda piece, stream_end=False: lines.append(piece)
    (sequence, _, _), (alone, _, _) = mixed
    output = model.generate(torch.tensor([sequence]), max_new_tokens=4, eos_token_id=None, streamer=text, **alone)
    assert "".join(lines).split() == [str(token) for token in output[0, len(sequence) :].tolist()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"generation_mode": "audio"}, "Unknown `generation_mode` 'audio'"),
        ({"generation_mode": "video", "num_clips": 0}, "at least 1"),
        ({"generation_mode": "video", "num_beams": 3}, "num_beams"),
        ({"generation_mode": "image", "min_new_tokens": 9, "max_new_tokens": 8}, "`min_new_tokens` 9"),
        ({"generation_mode": "image", "temperature": 0.0}, "`temperature` is positive"),
        ({"generation_mode": "video", "visual_codes": [torch.tensor([16384])]}, "outside 0 to 16383"),
        ({"generation_mode": "video", "visual_codes": [torch.tensor([-1])]}, "outside 0 to 16383"),
        ({"generation_mode": "video", "visual_codes": [torch.zeros(257, dtype=torch.long)]}, "1 to 256 codes"),
        ({"generation_mode": "video", "visual_codes": []}, "0 keyframes for 1 prompts"),
        ({"generation_mode": "image", "visual_codes": [torch.tensor([1])]}, "visual_codes"),
        ({"visual_codes": [torch.tensor([1])]}, "visual_codes"),
        ({"num_clips": 2}, "num_clips"),
        ({"generation_mode": "image", "generator": [torch.Generator()] * 2}, "2 generators for 1"),
        ({"generator": [torch.Generator()]}, "not a list"),
    ],
)
def test_bad_arguments_are_refused(language_model, arguments, message):
    with pytest.raises(ValueError, match=message):
        language_model.generate(torch.tensor([[5, 6, 7]]), **arguments)


def test_batches_that_end_differently_are_refused(language_model):
    with pytest.raises(ValueError, match="1 of 2"):
        language_model.generate(torch.tensor([[5, IMAGE_END], [5, 6]]), generation_mode="video")


def test_an_empty_prompt_is_no_condition(language_model):
    arguments = {"generation_mode": "video", "do_sample": False, "min_new_tokens": 4, "max_new_tokens": 4}
    alone = language_model.generate(torch.empty((1, 0), dtype=torch.long), **arguments)
    assert len(split_clips(alone[0], language_model.config)) == 1
    input_ids, attention_mask = pad_batch([[], [21, 22, 23]], "left")
    batch = language_model.generate(input_ids, attention_mask=attention_mask, **arguments)
    assert torch.equal(batch[0, 3:], alone[0])


def test_clips_of_the_prompt_can_be_one_number(model, visuals, mixed):
    prompt, given = torch.tensor([mixed[0][2]]), mixed[1][2]
    arguments = {"max_new_tokens": 2, "eos_token_id": None}
    expected_ids = model.generate(prompt, **given, **arguments)
    assert torch.equal(model.generate(prompt, **{**given, "num_clips": 2}, **arguments), expected_ids)
    with pytest.raises(ValueError, match=r"`num_clips` \[3\] sums to 3"):
        model.generate(prompt, **{**given, "num_clips": 3}, **arguments)


def test_a_prompt_is_needed(language_model):
    with pytest.raises(ValueError, match="input_ids"):
        language_model.generate(generation_mode="image")
