"""The browser demo: what its buttons do, and that they do it in a browser."""

import shutil
import threading
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image
from small_checkpoint import write_small_release

from transformers_videolavit.video_decoding import VideoFileFrames


VIDEO = str(Path(__file__).parents[2] / "examples" / "media" / "big_buck_bunny.mp4")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    from app import load

    folder = tmp_path_factory.mktemp("app")
    return load(write_small_release(folder), folder, "cpu")


def shape_of(path):
    frames = [frame.to_ndarray(format="rgb24") for frame in VideoFileFrames(path)]
    return len(frames), *frames[0].shape


def test_each_button_gives_text_or_a_video(app):
    assert isinstance(app.describe(VIDEO), str) and isinstance(app.ask(VIDEO, "What moves?"), str)
    image = Image.new("RGB", (80, 60), "green")
    assert shape_of(app.generate("A lake", None, num_clips=1, steps=1, seed=0)) == (24, 384, 384, 3)
    assert shape_of(app.generate_from_image("A lake", image, steps=1, seed=0)) == (24, 384, 384, 3)
    path, numbers = app.reconstruct(VIDEO, steps=1, seed=0)
    assert shape_of(path) == (24, 384, 384, 3)
    assert numbers.endswith(" visual and 135 motion tokens for 24 frames")


def test_a_seed_gives_the_same_video_again(app):
    first, second = (Path(app.generate("A lake", None, 1, 1, 3)).read_bytes() for _ in range(2))
    assert first == second


def test_what_is_missing_or_no_video_is_named(app, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    for call, message in (
        (lambda: app.describe(None), "Give a video first"),
        (lambda: app.ask(VIDEO, " "), "Give a question first"),
        (lambda: app.generate("", None, 1, 1, 0), "Give a prompt first"),
        (lambda: app.generate_from_image("A lake", None, 1, 0), "Give an image first"),
        (lambda: app.describe(str(broken)), "broken.mp4"),
        (lambda: app.ask(str(broken), "What moves?"), "broken.mp4"),
    ):
        with pytest.raises(gr.Error, match=message):
            call()


def test_a_folder_without_the_model_is_refused(tmp_path, capsys):
    from app import main

    with pytest.raises(SystemExit):
        main(["--checkpoint", str(tmp_path)])
    assert "has no video-lavit" in capsys.readouterr().err


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
def test_in_a_browser(app):
    """Opens every tab, asks, and watches a video of a prompt."""
    from app import build
    from playwright.sync_api import expect, sync_playwright

    page = build(app)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, allowed_paths=[str(app.folder)])
    results = []

    def visit():
        # Playwright's loop and pytest's plugins keep out of each other's way in a thread of its own.
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=BROWSER, args=options)
            tab = browser.new_page()
            tab.goto(url)
            for name in ("Describe", "Image to video", "Reconstruct", "Ask"):
                tab.get_by_role("tab", name=name).click()
            tab.locator("input[type=file]").locator("visible=true").or_(tab.locator("input[type=file]")).nth(
                1
            ).set_input_files(VIDEO)
            tab.locator("#ask").click()
            expect(tab.locator("#answer textarea")).not_to_have_value("", timeout=90_000)
            tab.get_by_role("tab", name="Text to video").click()
            tab.locator("#generate").click()
            video = tab.locator("#generated video")
            video.wait_for(timeout=90_000)
            tab.wait_for_function("document.querySelector('#generated video').readyState >= 2", timeout=30_000)
            results.append((tab.title(), video.evaluate("element => element.duration")))
            browser.close()

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    page.close()
    assert results == [("Video-LaVIT", pytest.approx(4.0, abs=0.2))]
