"""Benchmarks in their published layouts, of a few questions each."""

import base64
import io
import json

import numpy as np
from PIL import Image
from training_media import textured_frames, write_videos
from videos import encode_video


def _picture(folder, name, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_vqav2(folder):
    subset = "mscoco_val2014"
    questions, annotations = [], []
    for number in (1, 2, 3):
        _picture(folder / "val2014", f"COCO_val2014_{number:012d}.jpg", number)
        questions.append({"image_id": number, "question": f"How many are {number}?", "question_id": number * 10})
        answers = [{"answer": "two", "answer_id": index} for index in range(10)]
        annotations.append({"question_id": number * 10, "image_id": number, "answers": answers})
    _write(folder / f"v2_OpenEnded_{subset}_questions.json", {"data_subtype": "val2014", "questions": questions})
    _write(folder / "v2_mscoco_val2014_annotations.json", {"annotations": annotations})


def write_gqa(folder):
    for number in (1, 2):
        _picture(folder / "images", f"{number}.jpg", number)
    entries = {"100": {"imageId": "1", "question": "Left or right?", "answer": "left"}}
    entries["101"] = {"imageId": "2", "question": "Is it red?", "answer": "two"}
    _write(folder / "testdev_balanced_questions.json", entries)


def write_vizwiz(folder):
    entries = []
    for number in (1, 2):
        _picture(folder / "val", f"VizWiz_val_{number}.jpg", number)
        answers = [{"answer": "two", "answer_confidence": "yes"} for _ in range(10)]
        entries.append({"image": f"VizWiz_val_{number}.jpg", "question": "What is this?", "answers": answers})
    _write(folder / "val.json", entries)


def write_scienceqa_img(folder):
    problem = {"question": "Which?", "choices": ["red", "two", "blue"], "hint": "Look.", "split": "test"}
    problems = {"7": {**problem, "answer": 1, "image": "image.png"}, "8": {**problem, "answer": 0, "image": None}}
    problems["9"] = {**problem, "answer": 2, "image": "image.png"}
    for number in ("7", "9"):
        _picture(folder / "images" / "test" / number, "image.png")
    _write(folder / "problems.json", problems)
    _write(folder / "pid_splits.json", {"train": [], "val": [], "test": ["7", "8", "9"]})


def write_mme(folder):
    for subtask, nested in (("existence", False), ("landmark", True)):
        images = folder / subtask / "images" if nested else folder / subtask
        texts = folder / subtask / "questions_answers_YN" if nested else folder / subtask
        _picture(images, "0001.jpg")
        texts.mkdir(parents=True, exist_ok=True)
        lines = ["Is there a dog? Please answer yes or no.\tYes", "Is there a cat? Please answer yes or no.\tNo"]
        (texts / "0001.txt").write_text("\n".join(lines) + "\n")


def write_mmbench(folder):
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), "red").save(buffer, format="JPEG")
    image = base64.b64encode(buffer.getvalue()).decode()
    rows = ["index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage"]
    rows.append(f"241\tWhat?\tnan\tred\ttwo\tblue\tfour\tB\tcolour\t{image}")
    rows.append(f"252\tYes or no?\tThink.\tyes\tno\t\t\tA\tlogic\t{image}")
    (folder / "mmbench_dev.tsv").write_text("\n".join(rows) + "\n")


def write_seed_bench(folder):
    choices = {"choice_a": "red", "choice_b": "two", "choice_c": "blue", "choice_d": "four"}
    questions = []
    for number, kind in (("1", "image"), ("2", "image"), ("3", "video")):
        entry = {"question_id": number, "question": "What?", **choices, "answer": "B", "data_type": kind}
        questions.append({**entry, "data_id": f"{number}_0.jpg", "question_type_id": 1})
        _picture(folder / "SEED-Bench-image", f"{number}_0.jpg")
    _write(folder / "SEED-Bench.json", {"questions": questions})


def write_mm_vet(folder):
    entries = {}
    for number, truth in (("v1_0", "two<AND>red"), ("v1_1", "one<OR>two")):
        _picture(folder / "images", f"{number}.png")
        entries[number] = {
            "imagename": f"{number}.png",
            "question": "What?",
            "answer": truth,
            "capability": ["ocr", "math"],
        }
    _write(folder / "mm-vet.json", entries)


def write_video_qa(folder, prefix=""):
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    questions, answers = [], []
    for number in (0, 1):
        content = encode_video(textured_frames(number, 24, 32, 48), fps=6)
        (folder / "videos" / f"{prefix}video{number}.mp4").write_bytes(content)
        questions.append({"video_name": f"video{number}", "question": "What moves?", "question_id": f"{number}_0"})
        answers.append({"answer": ["dog", "two"][number], "question_id": f"{number}_0", "type": 3})
    _write(folder / "test_q.json", questions)
    _write(folder / "test_a.json", answers)


def write_coco(folder):
    images, annotations = [], []
    for number in (1, 2):
        name = f"COCO_val2014_{number:012d}.jpg"
        _picture(folder / "val2014", name, number)
        images.append({"id": number, "file_name": name})
        annotations += [{"image_id": number, "caption": f"caption {index} of {number}"} for index in range(3)]
    _write(folder / "annotations" / "captions_val2014.json", {"images": images, "annotations": annotations})


def write_msrvtt(folder):
    write_videos(folder / "TestVideo", 2, num_frames=24, height=32, width=32)
    videos, sentences = [], []
    for number in (0, 1):
        (folder / "TestVideo" / f"{number}.mp4").rename(folder / "TestVideo" / f"video{number}.mp4")
        videos.append({"video_id": f"video{number}", "split": "test"})
        sentences += [{"video_id": f"video{number}", "caption": f"caption {index}"} for index in range(3)]
    _write(folder / "test_videodatainfo.json", {"videos": videos, "sentences": sentences})


def write_ucf101(folder):
    for seed, name in enumerate(("Archery", "Diving")):
        write_videos(folder / name, 1 + seed, num_frames=24, height=32, width=32)
    prompts = {"Archery": "a person shoots an arrow", "Diving": "a person dives"}
    _write(folder.with_name("prompts.json"), {"videos_per_class": 2, "prompts": prompts})


LAYOUTS = {
    "vqav2": write_vqav2,
    "gqa": write_gqa,
    "vizwiz": write_vizwiz,
    "scienceqa_img": write_scienceqa_img,
    "mme": write_mme,
    "mmbench": write_mmbench,
    "seed_bench": write_seed_bench,
    "mm_vet": write_mm_vet,
    "msvd_qa": write_video_qa,
    "msrvtt_qa": write_video_qa,
    "activitynet_qa": lambda folder: write_video_qa(folder, "v_"),
    "coco": write_coco,
    "msrvtt": write_msrvtt,
    "ucf101": write_ucf101,
}
