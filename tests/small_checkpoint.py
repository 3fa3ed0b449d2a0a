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
