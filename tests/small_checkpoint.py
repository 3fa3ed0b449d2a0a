"""The small random model with its detokenizer, as folders."""


def write_small_checkpoint(folder):
    """Writes `model` and `detokenizer`, with the motion tokenizer, into a folder."""
    from small_random_model import build_detokenizer, build_language_model

    model, processor = build_language_model()
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    pipe = build_detokenizer(model, processor)
    pipe.register_modules(language_model=None, processor=None, motion_tokenizer=model.model.motion_tokenizer)
    pipe.save_pretrained(folder / "detokenizer")
    return folder


def write_small_release(folder):
    """Writes the same in the layout of a released checkpoint, and returns where."""
    from release_tiny import main

    write_small_checkpoint(folder)
    parts = ("--pretrained", folder / "model", "--instruct", folder / "model", "--detokenizer", folder / "detokenizer")
    main([str(item) for item in (*parts, "--output_dir", folder / "release")])
    return folder / "release"
