"""The format of token shards, and mixtures of them."""

import json
from collections import Counter

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from training.token_shards import SCHEMA, load_mixture, read_metadata, write_shard


def make_rows(name, num_rows):
    return [
        {
            "id": f"{name}-{index}",
            "kind": "video",
            "text": "a caption",
            "visual_codes": [[0, 16383], [5]],
            "motion_codes": [list(range(135)), [1023] * 135],
            "keyframes": [b"\x89PNG one", b"\x89PNG two"],
            "start_times": [0.0, 4.0],
            "source": f"{name}.mp4",
            "num_tokens": 3 + 2 * 135 + 4 * 2,
        }
        for index in range(num_rows)
    ]


def text_row(name):
    empty = {name: [] for name in ("visual_codes", "motion_codes", "keyframes", "start_times")}
    return {"id": name, "kind": "text", "text": "words", "source": "texts.jsonl:0", "num_tokens": 0, **empty}


def test_rows_come_back_with_the_types_of_the_format(tmp_path):
    rows = [*make_rows("video", 2), text_row("text")]
    write_shard(tmp_path / "shard.parquet", rows, {})
    loaded = datasets.load_dataset("parquet", data_files=str(tmp_path / "shard.parquet"), split="train")
    assert list(loaded) == rows
    assert pq.read_schema(tmp_path / "shard.parquet").remove_metadata() == SCHEMA


def test_metadata_come_back(tmp_path):
    metadata = {"tokenization": {"codec": {"libavcodec": "61.19.100"}}, "counts": {"samples": 1}}
    write_shard(tmp_path / "shard.parquet", make_rows("a", 1), metadata)
    assert read_metadata(tmp_path / "shard.parquet") == metadata


def test_a_shard_that_cannot_be_written_is_not_there(tmp_path):
    path = tmp_path / "shard.parquet"
    with pytest.raises(pa.ArrowInvalid):
        write_shard(path, [{**make_rows("a", 1)[0], "visual_codes": [[2**40]]}], {})
    with pytest.raises(TypeError):
        write_shard(path, make_rows("a", 1), {"not JSON": {1, 2}})
    assert not path.exists()


def test_a_shard_without_rows_joins_others(tmp_path):
    write_shard(tmp_path / "a.parquet", [], {})
    write_shard(tmp_path / "b.parquet", make_rows("b", 2), {})
    assert load_mixture([{"path": str(tmp_path / "*.parquet")}])["id"] == ["b-0", "b-1"]


def test_mixtures_follow_their_weights_and_use_up_every_set(tmp_path):
    for name, num_rows in (("a", 200), ("b", 50)):
        write_shard(tmp_path / f"{name}.parquet", make_rows(name, num_rows), {})
    mixture = [
        {"path": tmp_path / "a.parquet", "weight": 2},
        {"path": [str(tmp_path / "b.parquet")], "weight": 1},
    ]
    ids = load_mixture(mixture, seed=1)["id"]
    assert {*ids} == {f"a-{index}" for index in range(200)} | {f"b-{index}" for index in range(50)}
    share = Counter(name[0] for name in ids)["a"] / len(ids)
    # Three standard deviations of a share of 2/3 in at least 250 draws.
    assert share == pytest.approx(2 / 3, abs=0.09)
    assert load_mixture(mixture, seed=1)["id"] == ids
    assert load_mixture(mixture, seed=2)["id"] != ids


@pytest.mark.parametrize("weight", [0, -1.0])
def test_weights_must_be_positive(tmp_path, weight):
    write_shard(tmp_path / "a.parquet", make_rows("a", 1), {})
    with pytest.raises(ValueError, match="must be positive"):
        load_mixture([{"path": tmp_path / "a.parquet", "weight": weight}])


def test_missing_shards_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"There are no shards .*nothing\*\.parquet"):
        load_mixture([{"path": str(tmp_path / "nothing*.parquet")}])


def test_metadata_are_plain_json(tmp_path):
    write_shard(tmp_path / "a.parquet", make_rows("a", 1), {"seed": 7})
    assert json.loads(pq.read_schema(tmp_path / "a.parquet").metadata[b"videolavit"]) == {"seed": 7}
