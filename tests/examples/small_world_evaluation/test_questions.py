"""How answers are judged."""


def test_answers_are_right_to_the_word():
    from small_world.dataset import SmallWorldOptions, video_sample
    from small_world.language import Question
    from small_world_evaluation.questions import QuestionTally

    single, several = (video_sample(SmallWorldOptions(num_objects=(number, number)), 0) for number in (1, 3))
    tally = QuestionTally()
    for answer in ("upper left", " Upper left ", "upper left.", "left", ""):
        sample = single if answer else several
        tally.add(sample, Question("Where?", "upper left", "motion", "direction"), answer)
    tally.add(single, Question("What colour?", "red", "appearance", "colour"), "red")
    result = tally.result()
    assert result["by_type"]["motion"]["value"] == 3 / 5 and result["by_type"]["appearance"]["value"] == 1
    assert list(result["by_attribute"]) == ["appearance: colour", "motion: direction"]
    shares = {name: share["value"] for name, share in result["by_number"].items()}
    assert shares == {"motion, one object": 3 / 4, "motion, three objects": 0, "appearance, one object": 1}


def test_the_most_frequent_answer_is_the_level_of_chance():
    from small_world.dataset import SmallWorldOptions, video_sample
    from small_world_evaluation.questions import guess_questions

    training = [video_sample(SmallWorldOptions(), index) for index in range(300)]
    held_out = [video_sample(SmallWorldOptions(split="test"), index) for index in range(300)]
    result = guess_questions(training, held_out).result()
    assert result["by_type"]["motion"]["value"] < 0.45 and result["by_attribute"]["appearance: colour"]["value"] < 0.3
