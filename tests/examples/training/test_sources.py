"""Readers of data sets, on small files in the layouts in which they are published."""

import gzip
import io
import json
import tarfile

import datasets
import numpy as np
import pytest
from PIL import Image
from training.sources import (
    InputSpec,
    count_samples,
    load_llava_instruct,
    load_messages,
    load_video_chatgpt,
    read_units,
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A place of its own for what `datasets` keeps of a table."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


def read(path, kind, unit_size=100, **kwargs):
    return list(read_units(InputSpec(str(path), kind, **kwargs), "part", unit_size))


def items(path, kind, **kwargs):
    return [item for unit in read(path, kind, **kwargs) for item in unit.items]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


# Tables


def test_webvid_as_published(tmp_path):
    table = tmp_path / "results_10M_train.csv"
    table.write_text(
        "videoid,contentUrl,duration,page_dir,name\n"
        '21179416,https://example.org/preview.mp4,PT00H00M11S,006001_006050,"Aerial shot, winter forest"\n'
    )
    (item,) = items(table, "video", media_root="videos")
    assert (item.id, item.kind, item.text) == ("21179416", "video", "Aerial shot, winter forest")
    assert item.media == item.source == "videos/006001_006050/21179416.mp4"


def test_paths_are_relative_to_the_table_unless_a_folder_is_given(tmp_path):
    table = write_jsonl(tmp_path / "table.jsonl", [{"path": "a.mp4"}, {"path": "/b.mp4"}, {"path": "http://c/d.mp4"}])
    assert [item.media for item in items(table, "video")] == [str(tmp_path / "a.mp4"), "/b.mp4", "http://c/d.mp4"]
    assert items(table, "video", media_root="/videos")[0].media == "/videos/a.mp4"


def test_columns_can_be_named(tmp_path):
    table = tmp_path / "table.tsv"
    table.write_text("clip\tpath\tdescription\tnumber\na.mp4\twrong\ta caption\t7\n")
    (item,) = items(table, "video", media_column="clip", text_column="description", id_column="number")
    assert (item.id, item.text, item.media) == ("7", "a caption", str(tmp_path / "a.mp4"))
    with pytest.raises(ValueError, match=r"table\.tsv' has no column 'missing'"):
        items(table, "video", media_column="missing")


def test_conceptual_captions_has_no_header(tmp_path):
    table = tmp_path / "Train_GCC-training.tsv"
    table.write_text("a very typical bus station\thttp://example.org/1.jpg\nsierra\thttp://example.org/2.jpg\n")
    found = items(table, "image", column_names=["caption", "url"])
    assert [(item.text, item.media) for item in found] == [
        ("a very typical bus station", "http://example.org/1.jpg"),
        ("sierra", "http://example.org/2.jpg"),
    ]
    with pytest.raises(ValueError, match="`column_names` are for CSV and TSV"):
        items(write_jsonl(tmp_path / "rows.jsonl", [{"url": "a"}]), "image", column_names=["url"])


def test_laion_metadata(tmp_path):
    path = tmp_path / "laion.parquet"
    datasets.Dataset.from_list(
        [{"URL": "http://example.org/1.jpg", "TEXT": "one"}, {"URL": None, "TEXT": None}]
    ).to_parquet(path)
    found = items(path, "image")
    assert [(item.text, item.media) for item in found] == [("one", "http://example.org/1.jpg"), ("", None)]


@pytest.mark.parametrize("compressed", [False, True])
def test_redpajama(tmp_path, compressed):
    path = write_jsonl(
        tmp_path / "arxiv.jsonl", [{"text": f"text {i}", "meta": {"timestamp": str(i)}} for i in range(5)]
    )
    if compressed:
        (tmp_path / "arxiv.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "arxiv.jsonl.gz"
    units = read(path, "text", unit_size=2)
    assert [unit.name for unit in units] == ["part-000000", "part-000001", "part-000002"]
    assert [[item.text for item in unit.items] for unit in units] == [
        ["text 0", "text 1"],
        ["text 2", "text 3"],
        ["text 4"],
    ]
    assert all(item.media is None and item.kind == "text" for unit in units for item in unit.items)
    assert count_samples(InputSpec(str(path), "text")) == 5


def test_several_files_are_one_set_in_the_order_of_their_names(tmp_path):
    for name in "ba":
        (tmp_path / f"{name}.txt").write_text(f"{name} 1\n{name} 2\n")
    assert [item.text for item in items(tmp_path / "*.txt", "text")] == ["a 1", "a 2", "b 1", "b 2"]


def test_only_wanted_units_are_read(tmp_path):
    path = write_jsonl(tmp_path / "texts.jsonl", [{"text": str(number)} for number in range(6)])
    units = list(read_units(InputSpec(str(path), "text"), "part", 2, lambda name: name.endswith("1")))
    assert [(unit.name, [item.text for item in unit.items]) for unit in units] == [("part-000001", ["2", "3"])]


def test_a_digest_tells_whether_a_unit_is_made_of_the_same(tmp_path):
    (tmp_path / "0.png").write_bytes(b"old")
    rows = [{"image": f"{number}.png", "caption": f"image {number}"} for number in range(4)]
    path = write_jsonl(tmp_path / "images.jsonl", rows)

    def digests(path):
        return [unit.digest for unit in read(path, "image", unit_size=2)]

    before = digests(path)
    assert digests(path) == before and before[0] != before[1]
    # A file that appears, one that changes, and a caption that does.
    (tmp_path / "3.png").write_bytes(b"new")
    appeared = digests(path)
    assert appeared[0] == before[0] and appeared[1] != before[1]
    (tmp_path / "0.png").write_bytes(b"newer")
    changed = digests(path)
    assert changed[0] != before[0] and changed[1] == appeared[1]
    rows[1]["caption"] = "another"
    captioned = digests(write_jsonl(tmp_path / "images.jsonl", rows))
    assert captioned[0] != changed[0] and captioned[1] == changed[1]
    # What is done is passed over, and of a tar not even read.
    done = read_units(InputSpec(str(path), "image"), "part", 2, is_done=lambda name, digest: digest == captioned[0])
    assert [unit.name for unit in done] == ["part-000001"]
    (tmp_path / "a.tar").write_bytes(b"no tar")
    spec = InputSpec(str(tmp_path / "a.tar"), "image")
    ((name, digest),) = [(unit.name, unit.digest) for unit in read_units(spec, "part", 2)]
    assert not list(read_units(spec, "part", 2, is_done=lambda *unit: unit == (name, digest)))


def test_a_folder_is_streamed_as_a_data_set_of_the_hub(tmp_path):
    texts = datasets.Dataset.from_list([{"content": f"text {number}"} for number in range(5)])
    texts.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    units = read(tmp_path, "text", unit_size=2)
    assert [[item.text for item in unit.items] for unit in units] == [
        ["text 0", "text 1"],
        ["text 2", "text 3"],
        ["text 4"],
    ]
    assert count_samples(InputSpec(str(tmp_path), "text")) is None


def test_images_in_a_table_are_not_opened(tmp_path):
    image = Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8))
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    rows = {"image": [image, {"bytes": b"no image", "path": None}], "caption": ["black", "broken"]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "images.parquet")
    good, broken = items(tmp_path / "images.parquet", "image")
    assert np.array_equal(Image.open(io.BytesIO(good.media)), np.zeros((4, 4, 3)))
    assert (good.text, broken.text, broken.media) == ("black", "broken", b"no image")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("broken.jsonl", b'{"path": "a"}\n{nope\n', "can't be read"),
        ("broken.parquet", b"x", "can't be read"),
        ("empty.csv", b"videoid,path,name\n", "can't be read"),
        ("columns.csv", b"one,two\n1,2\n", "name it as `media_column`"),
        ("video.mp4", b"", "must be files of one kind"),
        ("missing*.csv", None, "There is no file"),
        ("missing.tar", None, "There is no file"),
    ],
)
def test_unreadable_tables_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path / name, "video")
    assert name in str(error.value)


def test_kinds_are_checked():
    with pytest.raises(ValueError, match=r"`kind` of 'a\.csv' must be one of .*, not 'audio'"):
        InputSpec("a.csv", "audio")


# WebDataset


def test_webdataset(tmp_path):
    files = {
        "00/a.mp4": b"video a", "00/a.jpg": b"thumbnail", "00/a.txt": b"caption a\n",
        "00/b.json": b'{"caption": "caption b", "key": "1"}', "00/b.mp4": b"video b",
        "c.json": b"[1, 2]", "c.mp4": b"video c",
        "d.json": b"{broken", "d.mp4": b"video d",
        "e.txt": b"no video",
    }  # fmt: skip
    path = write_tar(tmp_path / "00000.tar", files)
    (unit,) = read(path, "video")
    assert [(item.id, item.text, item.media, item.source) for item in unit.items] == [
        ("00/a", "caption a", b"video a", f"{path}:00/a"),
        ("00/b", "caption b", b"video b", f"{path}:00/b"),
        ("e", "no video", None, f"{path}:e"),
    ]
    assert [(item.id, type(error)) for item, error in unit.errors] == [("c", ValueError), ("d", json.JSONDecodeError)]
    (unit,) = read(path, "image")
    assert unit.items[0].media == b"thumbnail"


def test_of_a_truncated_tar_the_beginning_is_kept(tmp_path):
    path = write_tar(tmp_path / "1.tar", {"a.mp4": b"a" * 2000, "b.mp4": b"b" * 2000, "c.mp4": b"c" * 2000})
    path.write_bytes(path.read_bytes()[: 512 + 2048 + 512 + 1000])
    write_tar(tmp_path / "2.tar", {"d.mp4": b"d"})
    first, second = read(tmp_path / "*.tar", "video")
    assert [item.id for item in first.items] == ["a"] and [item.id for item in second.items] == ["d"]
    ((item, error),) = first.errors
    assert item.id == "1.tar" and isinstance(error, tarfile.ReadError) and not second.errors


# Conversations


def turns(*values):
    return [{"from": ("human", "gpt")[index % 2], "value": value} for index, value in enumerate(values)]


def test_llava_as_published(tmp_path):
    rows = [
        {"id": "000000033471", "image": "coco/train2017/000000033471.jpg",
         "conversations": turns("<image>\nWhat are the colors?", "White and red.", "What is it?", "A bus.")},
        {"id": "ocr", "image": "ocr/1.jpg", "conversations": turns("Who wrote this?\n<image>", "Somebody.")},
        {"id": "wgByO4Y_0", "model": "", "conversations": turns("What does <image> mean in XML?", "A tag.")},
        {"conversations": turns("No name", "Indeed.")},
    ]  # fmt: skip
    (tmp_path / "llava.json").write_text(json.dumps(rows))
    found = load_llava_instruct(str(tmp_path / "llava.json"), "images")
    assert found["id"] == ["000000033471", "ocr", "wgByO4Y_0", "3"]
    first, second, third, fourth = found["messages"]
    assert [message["role"] for message in first] == ["user", "assistant", "user", "assistant"]
    assert first[0]["content"] == [
        {"type": "image", "text": None, "path": "images/coco/train2017/000000033471.jpg"},
        {"type": "text", "text": "What are the colors?", "path": None},
    ]
    assert [len(message["content"]) for message in first] == [2, 1, 1, 1]
    assert [block["type"] for block in second[0]["content"]] == ["image", "text"]
    assert third[0]["content"] == [{"type": "text", "text": "What does <image> mean in XML?", "path": None}]
    assert fourth[1]["content"][0]["text"] == "Indeed."


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"question_types": ["colour", "shape"]}, ["colour", "shape"]),
        # Of two questions, one type could be that of either; other fields are none of ours.
        ({"question_type": "colour"}, []),
        ({"attributes": {"caption": "A bus"}, "type": "motion"}, []),
    ],
)
def test_types_of_questions(tmp_path, fields, expected):
    conversations = turns("What colour?", "Red.", "What shape?", "Round.")
    (tmp_path / "llava.json").write_text(json.dumps([{"conversations": conversations, **fields}]))
    assert load_llava_instruct(str(tmp_path / "llava.json"))[0]["question_types"] == expected
    roles = ("user", "assistant") * 2
    messages = [{"role": role, "content": turn["value"]} for role, turn in zip(roles, conversations)]
    (tmp_path / "messages.json").write_text(json.dumps([{"messages": messages, **fields}]))
    assert load_messages(str(tmp_path / "messages.json"))[0]["question_types"] == expected


def test_videos_in_the_layout_of_llava(tmp_path):
    rows = [{"video": "a.mp4", "conversations": turns("<video>\nWhat is <image>?", "A tag.")}]
    (tmp_path / "llava.json").write_text(json.dumps(rows))
    (messages,) = load_llava_instruct(str(tmp_path / "llava.json"), "videos")["messages"]
    assert messages[0]["content"] == [
        {"type": "video", "text": None, "path": "videos/a.mp4"},
        {"type": "text", "text": "What is <image>?", "path": None},
    ]
    assert [block["text"] for block in messages[1]["content"]] == ["A tag."]


def test_video_chatgpt_as_published(tmp_path):
    rows = [
        {"q": "What happens?", "a": "A goal.", "video_id": "v_k_ZXmr8pmrs", "question_type": "event"},
        {"q": "Who?", "a": "Nobody.", "video_id": "v_gone"},
    ]
    (tmp_path / "VideoInstruct100K.json").write_text(json.dumps(rows))
    for name in ("v_k_ZXmr8pmrs.mkv", "v_k_ZXmr8pmrs.png"):
        (tmp_path / name).touch()
    found = load_video_chatgpt(str(tmp_path / "VideoInstruct100K.json"))
    assert [row[0]["content"][0]["path"] for row in found["messages"]] == [
        str(tmp_path / "v_k_ZXmr8pmrs.mkv"),
        str(tmp_path / "v_gone"),
    ]
    assert found["question_types"] == [["event"], []]
    assert found["messages"][0][0]["content"][1]["text"] == "What happens?"
    assert found["messages"][0][1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "A goal.", "path": None}],
    }


@pytest.mark.parametrize(
    ("load", "good", "bad", "reason"),
    [
        (load_llava_instruct, {"conversations": turns("a", "b")}, {"conversations": []}, "no turns"),
        (load_llava_instruct, {"conversations": turns("a", "b")}, {"id": 1}, "`conversations` is missing"),
        (load_llava_instruct, {"conversations": turns("a", "b")}, {"conversations": [{"from": "bot", "value": ""}]}, "bot"),
        (load_llava_instruct, {"conversations": turns("a", "b")}, {"image": "a.jpg", "conversations": turns("a")}, "marks"),
        (load_llava_instruct, {"conversations": turns("a", "b")}, {"video": "a.mp4", "conversations": turns("a")}, "<video>"),
        (load_llava_instruct, {"conversations": turns("a", "b")}, None, "NoneType"),
        (load_video_chatgpt, {"q": "a", "a": "b", "video_id": "c"}, {"q": "a", "a": None, "video_id": "c"}, "`a` is no"),
        (load_video_chatgpt, {"q": "a", "a": "b", "video_id": "c"}, {"q": "a", "a": "b"}, "`video_id` is missing"),
    ],
)  # fmt: skip
def test_malformed_conversations_are_named_or_left_out(tmp_path, load, good, bad, reason, monkeypatch):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([good, bad, good]))
    with pytest.raises(ValueError, match=f"^Row 1 of .*{reason}"):
        load(str(path))
    warnings = []
    monkeypatch.setattr("training.sources.logger.warning", warnings.append)
    assert load(str(path), skip_invalid=True)["id"] == ["0", "2"]
    (warning,) = warnings
    assert warning.startswith("Row 1 of") and reason in warning


@pytest.mark.parametrize("load", [load_llava_instruct, load_video_chatgpt])
@pytest.mark.parametrize(
    ("content", "message"), [("[{", "can't be read"), ("{}", "must hold a JSON list"), ("[]", "no conv")]
)
def test_other_files_are_no_conversations(tmp_path, load, content, message):
    (tmp_path / "rows.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "rows.json"))


def test_conversations_of_all_formats_can_be_joined(tmp_path):
    (tmp_path / "llava.json").write_text(json.dumps([{"id": "text", "conversations": turns("a", "b")}]))
    (tmp_path / "chat.json").write_text(json.dumps([{"q": "c", "a": "d", "video_id": "e"}]))
    image = [{"type": "image", "path": "f.jpg"}, {"type": "text", "text": "g"}]
    rows = [{"messages": [{"role": "user", "content": image}]}]
    parts = [
        load_llava_instruct(str(tmp_path / "llava.json")),
        load_video_chatgpt(str(tmp_path / "chat.json")),
        load_messages(str(write_jsonl(tmp_path / "messages.jsonl", rows)), "/images"),
    ]
    joined = datasets.concatenate_datasets([part.select_columns(["id", "messages"]) for part in parts])
    assert joined["id"] == ["text", "0", "0"]
    assert joined["messages"][2][0]["content"][0]["path"] == "/images/f.jpg"


def test_messages_need_their_column(tmp_path):
    with pytest.raises(ValueError, match="has no column `messages`"):
        load_messages(str(write_jsonl(tmp_path / "rows.jsonl", [{"text": "a"}])))


def test_images_beside_messages_are_refused(tmp_path):
    rows = [{"messages": [{"role": "user", "content": "<image>\nWhat?"}], "images": ["a.jpg"]}]
    with pytest.raises(ValueError, match=r"Row 0 of .* has \['images'\] beside its messages"):
        load_messages(str(write_jsonl(tmp_path / "rows.jsonl", rows)))
