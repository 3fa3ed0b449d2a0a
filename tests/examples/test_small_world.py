"""The small world: its scenes, what is said about them, and the files it writes."""

import csv
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transformers_videolavit import VideoLaVITVideoProcessor
from transformers_videolavit.motion_vectors import MOTION_STD
from transformers_videolavit.video_decoding import VideoFileFrames


EXAMPLES = Path(__file__).parents[2] / "examples"
FRAME_SIZE = (64, 64)


@pytest.fixture
def scenes():
    from small_world import scenes

    return scenes


@pytest.fixture
def language():
    from small_world import language

    return language


@pytest.fixture
def rendering():
    from small_world import rendering

    return rendering


@pytest.fixture
def dataset():
    from small_world import dataset

    return dataset


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Scenes


def test_a_scene_depends_on_its_number_alone(scenes, rendering):
    scene = scenes.sample_scene(seed=3, split="train", index=5)
    again = scenes.sample_scene(seed=3, split="train", index=5)
    assert again == scene
    np.testing.assert_array_equal(rendering.render_scene(again, FRAME_SIZE), rendering.render_scene(scene, FRAME_SIZE))
    others = [
        scenes.sample_scene(seed=4, split="train", index=5),
        scenes.sample_scene(seed=3, split="validation", index=5),
        scenes.sample_scene(seed=3, split="train", index=6),
    ]
    assert all(other != scene for other in others)


@pytest.mark.parametrize("num_clips", [1, 3])
def test_only_the_test_split_shows_held_out_combinations(scenes, num_clips):
    for split in scenes.SPLITS:
        for index in range(150):
            description = scenes.sample_scene(0, split, index, num_clips=num_clips).description
            for described in description.objects:
                held_out = scenes.HELD_OUT_SHAPE_OF_COLOUR[described.colour] == described.shape
                for motion in described.motions:
                    if motion.kind == "translation":
                        held_out |= scenes.HELD_OUT_SHAPE_OF_DIRECTION[motion.direction] == described.shape
                assert held_out == (split == "test")


def test_training_shows_every_value_of_every_attribute(scenes):
    objects = [described for i in range(400) for described in scenes.sample_scene(0, "train", i).description.objects]
    assert {described.shape for described in objects} == set(scenes.SHAPES)
    assert {described.colour for described in objects} == set(scenes.COLOURS)
    assert {described.size for described in objects} == set(scenes.SIZES)
    assert {described.texture for described in objects} == set(scenes.TEXTURES)
    translations = [motion for described in objects for motion in described.motions if motion.kind == "translation"]
    assert {motion.direction for motion in translations} == set(scenes.DIRECTIONS)
    assert {motion.speed for motion in translations} == set(scenes.SPEEDS)
    # Of 8 x 6 combinations each, one sixth is held out.
    assert len({(described.colour, described.shape) for described in objects}) == 40


@pytest.mark.parametrize("frame_size", [(128, 128), (96, 160)])
@pytest.mark.parametrize("num_clips", [1, 4])
def test_objects_stay_within_the_frame(scenes, frame_size, num_clips):
    half_frame = np.array(frame_size[::-1]) / min(frame_size) / 2
    for index in range(60):
        scene = scenes.sample_scene(0, "train", index, num_clips=num_clips, frame_size=frame_size)
        camera = scenes.camera_path(scene.description.camera, 24 * num_clips)
        for described, position in zip(scene.description.objects, scene.positions):
            path = scenes.object_path(described, position, 24 * num_clips)
            extent = path["radius"] * scenes.SHAPE_EXTENTS[described.shape]
            on_screen = (path["center"] - camera["center"]) * camera["zoom"][:, None]
            assert np.all(np.abs(on_screen) + (extent * camera["zoom"])[:, None] <= half_frame + 1e-9)


def test_outlines_reach_as_far_as_the_scenes_assume(scenes, rendering):
    for shape in scenes.SHAPES:
        assert rendering.OUTLINES[shape].max() == pytest.approx(scenes.SHAPE_EXTENTS[shape], abs=0.01)


def test_objects_of_a_scene_start_apart_and_differ(scenes):
    for index in range(60):
        scene = scenes.sample_scene(0, "test", index, num_objects=(3, 3))
        objects = scene.description.objects
        assert len({described.colour for described in objects}) == len({described.shape for described in objects}) == 3
        for first in range(3):
            for second in range(first):
                distance = np.linalg.norm(np.subtract(scene.positions[first], scene.positions[second]))
                extents = [
                    scenes.SIZES[objects[i].size] * scenes.SHAPE_EXTENTS[objects[i].shape] for i in (first, second)
                ]
                assert distance > sum(extents)


def test_in_longer_videos_each_clip_goes_on_from_the_one_before(scenes, rendering):
    scene = scenes.sample_scene(2, "train", 0, num_objects=(1, 1), num_clips=4, frame_size=FRAME_SIZE)
    assert len(scene.description.objects[0].motions) == 4
    frames = rendering.render_scene(scene, FRAME_SIZE).astype(np.float32)
    assert len(frames) == 96
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    # At a new clip, the picture changes no more than within clips.
    assert steps[23::24].max() <= steps.max(initial=0, where=np.arange(95) % 24 != 23) + 0.5


def test_the_first_frame_tells_nothing_about_the_motion(scenes):
    """A classifier of places and sizes finds directions and speeds of other scenes no better than chance does."""
    features, directions, speeds = [], [], []
    index = 0
    while len(features) < 480:
        scene = scenes.sample_scene(0, "train", index, num_objects=(1, 1))
        index += 1
        (described,) = scene.description.objects
        (motion,) = described.motions
        if motion.kind == "translation":
            size = scenes.SIZES[described.size]
            features.append(np.array([*scene.positions[0], size]) / [0.05, 0.05, 0.03])
            directions.append(list(scenes.DIRECTIONS).index(motion.direction))
            speeds.append(list(scenes.SPEEDS).index(motion.speed))
    features = np.array(features)
    for labels, num_classes in ((np.array(directions), 8), (np.array(speeds), 3)):
        centroids = np.stack([features[:240][labels[:240] == label].mean(axis=0) for label in range(num_classes)])
        guesses = np.argmin(np.linalg.norm(features[240:, None] - centroids, axis=-1), axis=1)
        chance = 1 / num_classes
        three_deviations = 3 * np.sqrt(chance * (1 - chance) / 240)
        assert abs(np.mean(guesses == labels[240:]) - chance) < three_deviations


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev"}, "split"),
        ({"num_objects": (2, 1)}, "num_objects"),
        ({"num_objects": (1, 4)}, "num_objects"),
        ({"num_clips": 0}, "num_clips"),
        ({"index": -1}, "index"),
        ({"frame_size": (0, 64)}, "frame_size"),
    ],
)
def test_scenes_that_are_out_of_range_are_refused(scenes, arguments, message):
    with pytest.raises(ValueError, match=message):
        scenes.sample_scene(**{"seed": 0, "split": "train", "index": 0, **arguments})


# Language


@pytest.mark.parametrize("num_clips", [1, 3])
def test_captions_are_read_back(scenes, language, num_clips):
    captions = set()
    for index in range(80):
        description = scenes.sample_scene(0, "test", index, num_clips=num_clips).description
        for phrasing in range(language.NUM_PHRASINGS):
            for told in (description, description.without_motion()):
                caption = language.write_caption(told, phrasing)
                assert language.parse_caption(caption) == told, caption
                assert language.parse_caption(f"{caption.capitalize()}.") == told
                captions.add(caption)
    assert len(captions) > 80 * language.NUM_PHRASINGS


def test_a_canonical_caption(scenes, language):
    motion = scenes.Motion("translation", "left", "slow")
    described = scenes.ObjectDescription("circle", "red", "small", "plain", (motion,))
    description = scenes.SceneDescription((described,), "striped", "grey")
    assert language.write_caption(description) == (
        "a small red circle moves left slowly over a striped grey background"
    )


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("a small red circle", "background"),
        ("over a striped grey background", "no object"),
        ("a small red circle explodes over a striped grey background", "'explodes'"),
        ("a small red circle moves left slowlyish over a striped grey background", "slowlyish"),
        ("a tiny red circle over a striped grey background", "no object"),
        ("see a small red circle over a striped grey background", "'see'"),
        ("a small red circle moves up fast and a large blue star over a striped grey background", "as many motions"),
    ],
)
def test_captions_of_another_grammar_are_refused(language, caption, message):
    with pytest.raises(ValueError, match=message):
        language.parse_caption(caption)


def test_answers_are_balanced(scenes, language):
    answers = defaultdict(Counter)
    for index in range(1500):
        description = scenes.sample_scene(1, "train", index).description
        for question in language.ask_questions(description, np.random.default_rng(index)):
            answers[question.type, question.attribute][question.answer] += 1
    values = {
        ("appearance", "colour"): 8,
        ("appearance", "shape"): 6,
        ("appearance", "size"): 3,
        ("appearance", "texture"): 3,
        ("appearance", "num_objects"): 3,
        ("appearance", "background_pattern"): 4,
        ("appearance", "background_colour"): 5,
        ("motion", "direction"): 8,
        ("motion", "speed"): 3,
        ("motion", "rotation"): 2,
        ("motion", "growth"): 2,
        ("motion", "motion_kind"): 5,
        ("motion", "camera"): 7,
    }
    assert {attribute: len(counts) for attribute, counts in answers.items()} == values
    for attribute, counts in answers.items():
        share = 1 / values[attribute]
        deviation = np.sqrt(share * (1 - share) / counts.total())
        # What is held out makes two shapes a little rarer.
        tolerance = 4 * deviation + (0.03 if attribute[1] == "shape" else 0)
        for answer, count in counts.items():
            assert abs(count / counts.total() - share) < tolerance, (attribute, answer)


def test_all_questions_are_about_each_object(scenes, language, dataset):
    options = dataset.SmallWorldOptions(questions="all", num_objects=(2, 3))
    named = Counter()
    for sample in [
        make(options, index) for make in (dataset.video_sample, dataset.image_sample) for index in range(40)
    ]:
        objects = sample.description.objects
        asked = Counter(question.attribute for question in sample.questions if question.type == "appearance")
        assert all(asked[name] == 1 for name in ("num_objects", "background_pattern", "background_colour"))
        assert not any(language.is_found_by_exclusion(sample.description, each.question) for each in sample.questions)
        answers = {question.question: question.answer for question in sample.questions}
        shown = {described.shape for described in objects}
        held_out = {described.colour: scenes.HELD_OUT_SHAPE_OF_COLOUR[described.colour] for described in objects}
        for described, (x, y) in zip(objects, sample.scene.positions):
            shape, colour = described.shape, described.colour
            excludes = {"shape": shape in held_out.values(), "colour": held_out[colour] in shown}
            assert answers.get(f"What colour is the {shape}?") == (None if excludes["shape"] else colour)
            assert answers.get(f"What shape is the {colour} object?") == (None if excludes["colour"] else shape)
            texture = answers.get(f"What texture does the {colour} object have?")
            assert texture == (None if excludes["colour"] else described.texture)
            names = {f"the {colour} {shape}": "both", f"the {shape}": "shape", f"the {colour} object": "colour"}
            places = [answers[f"Where is {name}?"] for name in names if f"Where is {name}?" in answers]
            for place in places:
                assert ("left" in place, "right" in place) == (x < -0.12, x > 0.12)
                is_low = place in ("down", "lower left", "lower right")
                assert (place.startswith("up"), is_low) == (y < -0.12, y > 0.12)
                assert (place == "middle") == (max(abs(x), abs(y)) <= 0.12)
            if all(excludes.values()):
                assert not places
            if any(excludes.values()):
                continue
            assert len(places) == 1
            for question in sample.questions:
                if question.attribute in ("position", "direction", "rotation", "growth", "motion_kind"):
                    named.update(
                        called for name, called in names.items() if re.search(rf"{name}\b", question.question)
                    )
    # Three fifths and a fifth each.
    shares = {called: count / named.total() for called, count in named.items()}
    assert shares == pytest.approx({"both": 0.6, "colour": 0.2, "shape": 0.2}, abs=4 * np.sqrt(0.24 / named.total()))
    some = dataset.video_sample(dataset.SmallWorldOptions(num_objects=(2, 3)), 0)
    assert len([question for question in some.questions if question.type == "appearance"]) == 2
    with pytest.raises(ValueError, match="`questions` must be 'some' or 'all', not 'none'"):
        dataset.SmallWorldOptions(questions="none")


@pytest.mark.parametrize(
    ("question", "is_found"),
    [
        # No star is red, so that the star here must be the other object.
        ("What colour is the star?", True),
        ("What does the white star do?", True),
        # No red object is a star.
        ("What shape is the red object?", True),
        ("Where is the red circle?", True),
        # Stars may be white, circles too.
        ("What shape is the white object?", False),
        ("What colour is the circle?", False),
        ("What colour is the background?", False),
    ],
)
def test_objects_that_are_found_by_exclusion(language, question, is_found):
    caption = "a small white star stays still and a large {} circle stays still over a striped grey background"
    assert language.is_found_by_exclusion(language.parse_caption(caption.format("red")), question) is is_found
    others = question.replace("red", "green")
    assert not language.is_found_by_exclusion(language.parse_caption(caption.format("green")), others)


def test_stills_are_asked_about_appearance_alone(scenes, language):
    for index in range(50):
        description = scenes.sample_scene(0, "train", index).description
        questions = language.ask_questions(description.without_motion(), np.random.default_rng(0), 20)
        assert questions
        assert all(question.type == "appearance" for question in questions)


def test_questions_need_a_video_of_one_clip(scenes, language):
    description = scenes.sample_scene(0, "train", 0, num_clips=2).description
    with pytest.raises(ValueError, match="one clip"):
        language.ask_questions(description, np.random.default_rng(0))


def test_questions_as_messages(language):
    question = language.Question("How many objects are there?", "two", "appearance", "num_objects")
    assert language.to_messages(question, "videos/a.mp4") == [
        {
            "role": "user",
            "content": [
                {"type": "video", "path": "videos/a.mp4"},
                {"type": "text", "text": "How many objects are there?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "two"}]},
    ]


# Rendering


def test_frames_of_every_size_show_the_same_scene(scenes, rendering):
    scene = scenes.sample_scene(0, "train", 0)
    large = rendering.render_scene(scene, (192, 192), num_frames=2)
    small = rendering.render_scene(scene, FRAME_SIZE, num_frames=2)
    assert large.dtype == np.uint8
    shrunk = large.reshape(2, 64, 3, 64, 3, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - small).mean() < 2
    # Nothing is drawn at the limits of what a pixel can hold.
    assert large.max() < 255
    assert large.min() > 0


def test_noise_of_rows_and_columns_is_that_of_their_places(rendering):
    noise = rendering._Noise(np.random.default_rng(0))
    x, y = np.linspace(-70, 5, 33, dtype=np.float32)[None], np.linspace(-3, 90, 21, dtype=np.float32)[:, None]
    np.testing.assert_allclose(noise(x, y), noise(*np.broadcast_arrays(x, y)), atol=1e-5)


@pytest.mark.parametrize("frame_size", [(46, 64), (64, 65)])
def test_frame_sizes_that_cannot_be_written_are_refused(scenes, rendering, frame_size):
    with pytest.raises(ValueError, match="frame_size"):
        rendering.render_scene(scenes.sample_scene(0, "train", 0), frame_size)


def test_a_video_file_holds_the_frames(tmp_path, scenes, rendering):
    frames = rendering.render_scene(scenes.sample_scene(0, "train", 1), FRAME_SIZE)
    rendering.write_video(tmp_path / "a.mp4", frames)
    decoded = list(VideoFileFrames(tmp_path / "a.mp4"))
    assert len(decoded) == 24
    # Colour has half the resolution in the file, brightness all of it.
    brightness = np.array([0.299, 0.587, 0.114])
    difference = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded]) @ brightness - frames @ brightness
    assert 10 * np.log10(255**2 / np.mean(difference**2)) > 36
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_frames_that_cannot_be_written_leave_no_file(tmp_path, rendering):
    for frames in (np.zeros((4, 64, 65, 3), np.uint8), np.zeros((4, 64, 64, 3)), np.zeros((0, 64, 64, 3), np.uint8)):
        with pytest.raises(ValueError, match="frames"):
            rendering.write_video(tmp_path / "a.mp4", frames)
    assert not list(tmp_path.iterdir())


def test_the_codec_finds_direction_and_speed(tmp_path, scenes, rendering):
    """The motion vectors of the object's macroblocks, of the file as the models see it, against how it was drawn."""
    processor = VideoLaVITVideoProcessor()
    size = (128, 128)
    cosines, lengths, background = [], defaultdict(list), []
    index = 0
    while len(cosines) < 16:
        scene = scenes.sample_scene(5, "train", index, num_objects=(1, 1))
        index += 1
        (described,) = scene.description.objects
        (motion,) = described.motions
        if motion.kind != "translation" or described.size == "small":
            continue
        rendering.write_video(tmp_path / "a.mp4", rendering.render_scene(scene, size))
        (clips,) = processor.extract_keyframes_and_motion(str(tmp_path / "a.mp4"), motion_scale_factor=1.0)
        shares = clips.motion_vectors[0].numpy() * np.array(MOTION_STD)[:, None, None, None]
        path = scenes.object_path(described, scene.positions[0], 24)
        rows, columns = (np.mgrid[:8, :8] + 0.5) / 8 - 0.5
        found = []
        for frame in range(1, 24):
            distance = np.maximum(*np.abs([columns, rows] - path["center"][frame][:, None, None]))
            inside = shares[:, frame, distance < path["radius"][frame]]
            found += list(inside.T[np.any(inside != 0, axis=0)])
            background.append(np.abs(shares[:, frame, distance > 1.3 * path["radius"][frame] + 1 / 8]).mean())
        found = np.mean(found, axis=0)
        cosines.append(found @ scenes.DIRECTIONS[motion.direction] / np.linalg.norm(found))
        lengths[motion.speed].append(np.linalg.norm(found) / scenes.SPEEDS[motion.speed])
    # Within the 45 degrees of one of eight directions.
    assert np.mean(np.array(cosines) > np.cos(np.pi / 8)) > 0.9
    assert set(lengths) == set(scenes.SPEEDS)
    assert all(0.7 < np.mean(ratios) < 1.3 for ratios in lengths.values())
    # Where nothing moves, the codec finds a fifth of the slowest motion at most.
    assert np.mean(background) < 0.2 * scenes.SPEEDS["slow"]


# Files


def test_files_do_not_depend_on_how_many_there_are_or_who_writes_them(tmp_path, dataset):
    options = dataset.SmallWorldOptions(frame_size=FRAME_SIZE)
    dataset.write_dataset(tmp_path / "one", options, num_videos=5, num_images=3)
    dataset.write_dataset(tmp_path / "two", options, num_videos=5, num_images=3, num_workers=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    dataset.write_dataset(tmp_path / "few", options, num_videos=2)
    few = files_of(tmp_path / "few")
    assert {name for name in few if name.startswith("videos")} == {
        "videos/train_video_00000000.mp4",
        "videos/train_video_00000001.mp4",
    }
    assert all(files_of(tmp_path / "one")[name] == few[name] for name in few if name.startswith("videos"))


def test_an_interrupted_run_is_continued(tmp_path, dataset, monkeypatch):
    options = dataset.SmallWorldOptions(frame_size=FRAME_SIZE)
    dataset.write_dataset(tmp_path / "whole", options, num_videos=5, num_images=2)

    render_scene = dataset.render_scene
    num_rendered = 0

    def stop_at_the_third(*args, **kwargs):
        nonlocal num_rendered
        num_rendered += 1
        if num_rendered == 3:
            raise KeyboardInterrupt
        return render_scene(*args, **kwargs)

    monkeypatch.setattr(dataset, "render_scene", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        dataset.write_dataset(tmp_path / "halved", options, num_videos=5, num_images=2)
    assert len(list((tmp_path / "halved" / "videos").iterdir())) == 2
    assert not (tmp_path / "halved" / "metadata_video.csv").exists()
    # What a killed process leaves behind.
    (tmp_path / "halved" / "videos" / "train_video_00000002.mp4.incomplete").write_bytes(b"half")
    dataset.write_dataset(tmp_path / "halved", options, num_videos=5, num_images=2)
    assert num_rendered == 3 + 3 + 2
    assert files_of(tmp_path / "halved") == files_of(tmp_path / "whole")


def test_tables_tell_what_the_files_show(tmp_path, dataset, language):
    options = dataset.SmallWorldOptions(split="test", num_objects=(1, 2), frame_size=FRAME_SIZE)
    dataset.write_dataset(tmp_path, options, num_videos=4, num_images=3)
    for kind, column, number in (("video", "videoid", 4), ("image", "imageid", 3)):
        with open(tmp_path / f"metadata_{kind}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        lines = (tmp_path / f"metadata_{kind}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == rows
        assert len({row[column] for row in rows}) == number
        for row in rows:
            assert (tmp_path / row["path"]).is_file()
            description = dataset.description_from_dict(json.loads(row["attributes"]))
            assert language.parse_caption(row["name"]) == description
            assert bool(description.objects[0].motions) == (kind == "video")
    with Image.open(tmp_path / "images" / "test_image_00000000.png") as image:
        assert image.size == FRAME_SIZE
    rows = json.loads((tmp_path / "conversations_video.json").read_text())
    assert {row["video_id"] for row in rows} == {f"test_video_{index:08d}" for index in range(4)}
    assert {row["type"] for row in rows} == {"appearance", "motion"}
    assert all(set(row) == {"q", "a", "video_id", "type", "question_type"} for row in rows)
    for row in json.loads((tmp_path / "conversations_image.json").read_text()):
        assert (tmp_path / row["image"]).is_file()
        senders = [turn["from"] for turn in row["conversations"]]
        assert senders == ["human", "gpt"] * len(row["question_types"])
        marks = ["<image>" in turn["value"] for turn in row["conversations"]]
        assert marks == [True] + [False] * (len(senders) - 1)


def test_stills_of_the_test_split_show_held_out_colours(dataset, scenes):
    for index in range(30):
        described = dataset.image_sample(dataset.SmallWorldOptions(split="test"), index).scene.description.objects[0]
        assert scenes.HELD_OUT_SHAPE_OF_COLOUR[described.colour] == described.shape


def test_samples_are_streamed(dataset):
    options = dataset.SmallWorldOptions(num_clips=2, frame_size=FRAME_SIZE)
    stream = dataset.stream_videos(options, start=3)
    (first, frames), (second, _) = next(stream), next(stream)
    assert frames.shape == (48, *FRAME_SIZE, 3)
    assert (first, second) == (dataset.video_sample(options, 3), dataset.video_sample(options, 4))
    assert first.questions == []


def test_a_folder_of_another_data_set_is_refused(tmp_path, dataset):
    dataset.write_dataset(tmp_path, dataset.SmallWorldOptions(frame_size=FRAME_SIZE), num_videos=1)
    before = files_of(tmp_path)
    with pytest.raises(ValueError, match="`seed` = 0, not 1"):
        dataset.write_dataset(tmp_path, dataset.SmallWorldOptions(seed=1, frame_size=FRAME_SIZE), num_videos=1)
    assert files_of(tmp_path) == before
    # As a folder was written before there was that option.
    options = json.loads((tmp_path / "options.json").read_text())
    del options["questions"]
    (tmp_path / "options.json").write_text(json.dumps(options))
    dataset.write_dataset(tmp_path, dataset.SmallWorldOptions(frame_size=FRAME_SIZE), num_videos=1)
    with pytest.raises(ValueError, match="`questions` = some, not all"):
        dataset.write_dataset(
            tmp_path, dataset.SmallWorldOptions(frame_size=FRAME_SIZE, questions="all"), num_videos=1
        )


def test_options_out_of_range_leave_no_folder(tmp_path, dataset):
    with pytest.raises(ValueError, match="num_clips"):
        dataset.write_dataset(tmp_path / "new", dataset.SmallWorldOptions(num_clips=0), num_videos=1)
    with pytest.raises(ValueError, match="num_videos"):
        dataset.write_dataset(tmp_path / "new", dataset.SmallWorldOptions(), num_videos=-1)
    assert not (tmp_path / "new").exists()


def test_the_command_line(tmp_path, dataset):
    command = [sys.executable, str(EXAMPLES / "small_world.py"), "--output_dir", str(tmp_path / "out")]
    arguments = ["--num_videos", "2", "--num_images", "1", "--size", "64", "--num_objects", "2", "--split", "test"]
    arguments += ["--questions", "all"]
    subprocess.run(command + arguments, check=True, capture_output=True)
    options = dataset.SmallWorldOptions(split="test", num_objects=(2, 2), frame_size=FRAME_SIZE, questions="all")
    dataset.write_dataset(tmp_path / "expected", options, num_videos=2, num_images=1)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "expected")
    refused = subprocess.run([*command, "--size", "10"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "`frame_size` must be at least 48 pixels" in refused.stderr
