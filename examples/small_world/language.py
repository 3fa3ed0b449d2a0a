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
What there is to say about the small world: captions, which can be read back, and questions with short answers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .scenes import (
    BACKGROUND_COLOURS,
    BACKGROUND_PATTERNS,
    CAMERA_MOTIONS,
    COLOURS,
    DIRECTIONS,
    HELD_OUT_SHAPE_OF_COLOUR,
    MOTION_KINDS,
    MOVING_CAMERA_PROBABILITY,
    SHAPES,
    TEXTURES,
    Motion,
    ObjectDescription,
    SceneDescription,
    choose,
)


NUM_PHRASINGS = 4

# The first word of each is the canonical one.
_SPEED_PHRASES = {
    "slow": ("slowly", "at low speed"),
    "medium": ("at medium speed", "steadily"),
    "fast": ("fast", "quickly"),
}
_VERBS = {
    "translation": ("moves", "is moving"),
    "rotation": ("rotates", "is rotating"),
    "grows": ("grows", "is growing"),
    "shrinks": ("shrinks", "is shrinking"),
    "still": ("stays still", "does not move"),
}
_SIZE_WORDS = {"small": ("small", "little"), "medium": ("medium", "medium-sized"), "large": ("large", "big")}


def _choices(words) -> str:
    """A pattern for one of several words, the longest that fits."""
    return "(" + "|".join(sorted(map(re.escape, words), key=len, reverse=True)) + ")"


def _spoken(phrases: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {phrase: meaning for meaning, several in phrases.items() for phrase in several}


_OBJECT_PATTERN = re.compile(
    rf"(?:a|an) {_choices(_spoken(_SIZE_WORDS))} (?:{_choices(TEXTURES)} )?{_choices(COLOURS)} {_choices(SHAPES)}\b"
)
_MOTION_PATTERN = re.compile(
    rf"(?:that )?(?:{_choices(_VERBS['translation'])} (?:to the )?{_choices(DIRECTIONS)} {_choices(_spoken(_SPEED_PHRASES))}"
    rf"|{_choices(_VERBS['rotation'])} {_choices(['clockwise', 'counterclockwise'])}"
    rf"|{_choices([*_VERBS['grows'], *_VERBS['shrinks'], *_VERBS['still']])})(?!\S)"
)
_BACKGROUND_PATTERN = re.compile(
    rf"(?:over|on) (?:a|an) {_choices(BACKGROUND_PATTERNS)} {_choices(BACKGROUND_COLOURS)} background"
    rf"|the background is {_choices(BACKGROUND_PATTERNS)} {_choices(BACKGROUND_COLOURS)}"
)
_CAMERA_PATTERN = re.compile(rf"(?:while )?the camera {_choices(CAMERA_MOTIONS[1:])}")


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _motion_phrase(motion: Motion, phrasing: int) -> str:
    wording = phrasing % 2
    if motion.kind == "translation":
        to_the = "to the " if " " in motion.direction else ""
        speed = _SPEED_PHRASES[motion.speed][wording]
        return f"{_VERBS['translation'][wording]} {to_the}{motion.direction} {speed}"
    if motion.kind == "rotation":
        return f"{_VERBS['rotation'][wording]} {motion.direction}"
    return _VERBS[motion.direction if motion.kind == "growth" else "still"][wording]


def _object_phrase(described: ObjectDescription, phrasing: int) -> str:
    texture = "" if described.texture == "plain" else f"{described.texture} "
    size = _SIZE_WORDS[described.size][phrasing % 2]
    phrase = _article(f"{size} {texture}{described.colour} {described.shape}")
    if not described.motions:
        return phrase
    motions = ", then ".join(_motion_phrase(motion, phrasing) for motion in described.motions)
    return f"{phrase} {'that ' if phrasing == 2 else ''}{motions}"


def write_caption(description: SceneDescription, phrasing: int = 0) -> str:
    """
    Tells everything that a description holds.

    Args:
        description (`SceneDescription`): The scene.
        phrasing (`int`, defaults to 0): Which of the `NUM_PHRASINGS` ways of saying it; 0 is the canonical one.

    Raises:
        ValueError: If there is no such phrasing.
    """
    if not 0 <= phrasing < NUM_PHRASINGS:
        raise ValueError(f"`phrasing` must be between 0 and {NUM_PHRASINGS - 1}, not {phrasing}.")
    objects = " and ".join(_object_phrase(described, phrasing) for described in description.objects)
    background = f"{description.background_pattern} {description.background_colour}"
    camera = "" if description.camera == "still" else f"the camera {description.camera}"
    if phrasing == 0:
        caption = f"{objects} over {_article(background)} background"
    elif phrasing == 1:
        caption = f"on {_article(background)} background, {objects}"
    elif phrasing == 2:
        caption = f"there is {objects}, the background is {background}"
    else:
        return f"{f'{camera}, ' if camera else ''}{objects} over {_article(background)} background"
    return f"{caption}, {f'while {camera}' if phrasing == 1 else camera}" if camera else caption


def parse_caption(caption: str) -> SceneDescription:
    """
    Reads what `write_caption` wrote, in any of its phrasings, with or without capitals and a full stop.

    Raises:
        ValueError: If something is missing or is no part of the grammar.
    """
    text = " ".join(caption.lower().rstrip(". ").split())
    backgrounds = list(_BACKGROUND_PATTERN.finditer(text))
    if len(backgrounds) != 1:
        raise ValueError(f"The caption {caption!r} must tell of one background, not {len(backgrounds)}.")
    pattern, colour = (group for group in backgrounds[0].groups() if group is not None)
    text = _BACKGROUND_PATTERN.sub("", text)
    cameras = _CAMERA_PATTERN.findall(text)
    if len(cameras) > 1:
        raise ValueError(f"The caption {caption!r} must tell of one motion of the camera, not {len(cameras)}.")
    text = _CAMERA_PATTERN.sub("", text)
    matches = list(_OBJECT_PATTERN.finditer(text))
    if not matches:
        raise ValueError(f"The caption {caption!r} tells of no object.")
    ends = [match.start() for match in matches[1:]] + [len(text)]
    objects, left_over = [], text[: matches[0].start()]
    for match, end in zip(matches, ends):
        said = text[match.end() : end]
        left_over += _MOTION_PATTERN.sub("", said.replace(",", " "))
        size, texture, object_colour, shape = match.groups()
        objects.append(
            ObjectDescription(
                shape=shape,
                colour=object_colour,
                size=_spoken(_SIZE_WORDS)[size],
                texture=texture or "plain",
                motions=tuple(_read_motion(*groups) for groups in _MOTION_PATTERN.findall(said.replace(",", " "))),
            )
        )
    unknown = [word for word in re.findall(r"[^\s,]+", left_over) if word not in ("there", "is", "and", "then")]
    if unknown:
        raise ValueError(f"The caption {caption!r} has words that are not understood: {' '.join(unknown)!r}.")
    if len({len(described.motions) for described in objects}) > 1:
        raise ValueError(f"The caption {caption!r} must tell as many motions of each object as of the others.")
    return SceneDescription(tuple(objects), pattern, colour, cameras[0] if cameras else "still")


def _read_motion(moves: str, direction: str, speed: str, rotates: str, turn: str, other: str) -> Motion:
    if moves:
        return Motion("translation", direction, _spoken(_SPEED_PHRASES)[speed])
    if rotates:
        return Motion("rotation", turn)
    meaning = _spoken(_VERBS)[other]
    return Motion("still") if meaning == "still" else Motion("growth", meaning)


@dataclass(frozen=True)
class Question:
    """
    Args:
        question (`str`): The question.
        answer (`str`): Its answer, of one to three words.
        type (`str`): "appearance" where a still image answers it, "motion" where it does not.
        attribute (`str`): What is asked for, such as "colour" or "direction".
    """

    question: str
    answer: str
    type: Literal["appearance", "motion"]
    attribute: str


# Half of the middle's width and height, in widths and heights of the frame.
_MIDDLE = 0.12

_KIND_ANSWERS = {"translation": "it moves", "rotation": "it rotates", "still": "it stays still"}


def _kind_answer_probabilities() -> dict[str, float]:
    probabilities = {answer: MOTION_KINDS[kind] for kind, answer in _KIND_ANSWERS.items()}
    return {**probabilities, "it grows": MOTION_KINDS["growth"] / 2, "it shrinks": MOTION_KINDS["growth"] / 2}


def ask_questions(
    description: SceneDescription,
    generator: np.random.Generator,
    num_appearance_questions: int | None = 2,
    positions: tuple[tuple[float, float], ...] = (),
) -> list[Question]:
    """
    Questions about a video of one clip, or about a still image where the description has no motion.

    Each answer of a question is about as frequent as its other answers: what happens often is asked about more rarely.

    Args:
        description (`SceneDescription`): The scene.
        generator (`np.random.Generator`): Chooses among the questions.
        num_appearance_questions (`int`, *optional*, defaults to 2): How many questions about appearance, each about another attribute;
            `None` for all about all objects. About motion, all are asked. Where neither is asked for, an object of several is named by
            its colour and its shape; among all questions about appearance and motion, in two of five cases by one of these alone. All
            are those to learn from: without what is found by exclusion, see [`is_found_by_exclusion`].
        positions (`tuple[tuple[float, float], ...]`, defaults to `()`): The centre of each object in the first frame, where it is to be
            asked for, too, among all questions about appearance.

    Raises:
        ValueError: If the scene has several clips: an object has no one direction there.
    """
    if len(description.objects[0].motions) > 1:
        raise ValueError("Questions are asked about videos of one clip.")
    # Attributes are chosen before objects, so that scenes of several objects are not asked less about their background.
    appearance = _appearance_questions(description)
    if num_appearance_questions is None:
        questions = [question for several in appearance.values() for question in several]
        questions += _position_questions(description, positions, generator)
    else:
        chosen = generator.permutation(list(appearance))[:num_appearance_questions]
        questions = [appearance[name][generator.integers(len(appearance[name]))] for name in chosen]
    if description.objects[0].motions:
        questions += _motion_questions(description, generator, choose_names=num_appearance_questions is None)
    if num_appearance_questions is None:
        return [question for question in questions if not is_found_by_exclusion(description, question.question)]
    return questions


def _appearance_questions(description: SceneDescription) -> dict[str, list[Question]]:
    questions = {}

    def ask(attribute, question, answer):
        questions.setdefault(attribute, []).append(Question(question, answer, "appearance", attribute))

    single = len(description.objects) == 1
    ask("background_pattern", "What pattern does the background have?", description.background_pattern)
    ask("background_colour", "What colour is the background?", description.background_colour)
    ask("num_objects", "How many objects are there?", ("one", "two", "three")[len(description.objects) - 1])
    for described in description.objects:
        _, by_colour, by_shape = _object_names(description, described)
        ask("colour", f"What colour is {by_shape}?", described.colour)
        ask("shape", f"What shape is {by_colour}?", described.shape)
        ask("texture", f"What texture does {by_colour} have?", described.texture)
        # There is seldom room for several large objects, so the answers would not be balanced.
        if single:
            ask("size", f"What size is {by_colour}?", described.size)
    return questions


def _position_questions(
    description: SceneDescription, positions: tuple[tuple[float, float], ...], generator: np.random.Generator
) -> Iterator[Question]:
    for described, (x, y) in zip(description.objects, positions):
        name = _choose_name(_object_names(description, described), generator)
        column = "left" if x < -_MIDDLE else "right" if x > _MIDDLE else ""
        row = "upper" if y < -_MIDDLE else "lower" if y > _MIDDLE else ""
        # As directions are called.
        alone = {"upper": "up", "lower": "down", "": "middle"}
        answer = f"{row} {column}" if row and column else column or alone[row]
        yield Question(f"Where is {name}?", answer, "appearance", "position")


def _object_names(description: SceneDescription, described: ObjectDescription) -> tuple[str, str, str]:
    """What an object is called by its colour and its shape, by either alone: no other of a scene has one of them."""
    if len(description.objects) == 1:
        return ("the object",) * 3
    return f"the {described.colour} {described.shape}", f"the {described.colour} object", f"the {described.shape}"


def _choose_name(names: tuple[str, str, str], generator: np.random.Generator) -> str:
    """A name, in two of five cases one by colour or shape alone, which is no held-out combination."""
    return choose(generator, names, (0.6, 0.2, 0.2))


def find_named_object(description: SceneDescription, question: str) -> tuple[int, str] | None:
    """Which object of a scene a question is about, and by what name it calls it; `None` where it is about none."""
    for number, described in enumerate(description.objects):
        for name in _object_names(description, described):
            if re.search(rf"{name}\b", question):
                return number, name
    return None


def is_found_by_exclusion(description: SceneDescription, question: str) -> bool:
    """
    Whether another object of a scene could not be the one that a question is about, of what training shows.

    Where training has no red star, "the star" is also found by leaving red objects out. A model that learns that finds no red star.

    Args:
        description (`SceneDescription`): The scene.
        question (`str`): A question about it.

    Returns:
        `bool`: Whether another object has a colour that is held out for the shape in the question, or a shape for which the colour in
        the question is held out.
    """
    found = find_named_object(description, question)
    if found is None:
        return False
    number, name = found
    asked = description.objects[number]
    others = description.objects[:number] + description.objects[number + 1 :]
    return any(
        (asked.shape in name and HELD_OUT_SHAPE_OF_COLOUR[other.colour] == asked.shape)
        or (asked.colour in name and HELD_OUT_SHAPE_OF_COLOUR[asked.colour] == other.shape)
        for other in others
    )


def _motion_questions(
    description: SceneDescription, generator: np.random.Generator, choose_names: bool
) -> list[Question]:
    def ask(question, answer, attribute):
        return Question(question, answer, "motion", attribute)

    questions = []
    single = len(description.objects) == 1
    for described in description.objects:
        names = _object_names(description, described)
        name = _choose_name(names, generator) if choose_names else names[0]
        (motion,) = described.motions
        if motion.kind == "translation":
            questions.append(ask(f"In which direction does {name} move?", motion.direction, "direction"))
            # Several objects have less room, so none of them is fast, and the answers would not be balanced.
            if single:
                questions.append(ask(f"How fast does {name} move?", motion.speed, "speed"))
        elif motion.kind == "rotation":
            questions.append(ask(f"Which way does {name} rotate?", motion.direction, "rotation"))
        elif motion.kind == "growth":
            questions.append(ask(f"Does {name} grow or shrink?", f"it {motion.direction}", "growth"))
        # Objects in front of a moving camera are all still, but move in the picture.
        if description.camera == "still":
            answer = f"it {motion.direction}" if motion.kind == "growth" else _KIND_ANSWERS[motion.kind]
            probabilities = _kind_answer_probabilities()
            if generator.random() < min(probabilities.values()) / probabilities[answer]:
                questions.append(ask(f"What does {name} do?", answer, "motion_kind"))
    probabilities = dict.fromkeys(CAMERA_MOTIONS, MOVING_CAMERA_PROBABILITY / (len(CAMERA_MOTIONS) - 1))
    probabilities["still"] = 1 - MOVING_CAMERA_PROBABILITY
    if generator.random() < min(probabilities.values()) / probabilities[description.camera]:
        answer = "it stays still" if description.camera == "still" else f"it {description.camera}"
        questions.append(ask("What does the camera do?", answer, "camera"))
    return questions


def to_messages(question: Question, path: str, media: Literal["video", "image"] = "video") -> list[dict]:
    """A question and its answer as chat messages, the question with the path of the video or image that it is about."""
    return [
        {"role": "user", "content": [{"type": media, "path": path}, {"type": "text", "text": question.question}]},
        {"role": "assistant", "content": [{"type": "text", "text": question.answer}]},
    ]
