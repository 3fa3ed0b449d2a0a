"""Answers that a language model judges."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from videolavit_metrics import EndpointJudge, JudgedAccuracy, TransformersJudge
from videolavit_metrics.judge import PROMPT, make_conversation, read_judgement


@pytest.mark.parametrize(
    ("text", "judgement"),
    [
        ("{'pred': 'yes', 'score': 4}", (True, 4.0)),
        ('Sure: {"pred": "No", "score": 0.5} and so on', (False, 0.5)),
        ("{'pred': 'yes', 'score': 7}", None),
        ("{'pred': 'maybe', 'score': 3}", None),
        ("{'score': 3}", None),
        ("yes", None),
        ("{__import__('os')}", None),
    ],
)
def test_judgements_are_read_but_not_run(text, judgement):
    assert read_judgement(text) == judgement


def same_word_judge(conversations):
    """Says yes where the prompt has the same word as correct and as predicted answer."""
    judgements = []
    for _, user in conversations:
        lines = dict(line.split(": ", 1) for line in user["content"].splitlines() if ": " in line)
        right = lines["Correct Answer"] == lines["Predicted Answer"]
        judgements.append(
            "no idea"
            if lines["Predicted Answer"] == "?"
            else str({"pred": "yes" if right else "no", "score": 5 * right})
        )
    return judgements


same_word_judge.description = {"model": "same word"}


def test_accuracy_and_score_leave_out_what_cannot_be_read():
    references = [{"question": "What?", "answer": answer} for answer in ("dog", "cat", "bird")]
    result = JudgedAccuracy(same_word_judge).compute(predictions=["dog", "dog", "?"], references=references)
    assert result["accuracy"] == 50 and result["score"] == 2.5 and result["unreadable"] == 1
    assert result["judge"] == {"model": "same word"} and result["prompt"] == PROMPT
    with pytest.raises(ValueError, match="no judgement"):
        JudgedAccuracy(same_word_judge).compute(predictions=["?"], references=references[:1])


def test_a_model_of_transformers_judges_the_same_in_any_batch(tmp_path):
    words = ["<s>", "</s>", "{'pred':", "'yes',", "'score':", "3}", "user", "system"]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<s>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(tmp_path)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), **sizes)).save_pretrained(tmp_path)
    conversations = [make_conversation("What?", answer, "x") for answer in ("dog", "a much longer answer", "cat")]
    together, alone = (
        TransformersJudge(str(tmp_path), max_new_tokens=4, batch_size=size)(conversations) for size in (3, 1)
    )
    assert together == alone and len(together) == 3
    assert TransformersJudge(str(tmp_path)).description["model"] == str(tmp_path)


def test_an_endpoint_is_asked_in_openais_protocol(monkeypatch):
    # The tests forbid the Hub; this server is here.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers["Authorization"], request))
            message = {"role": "assistant", "content": "{'pred': 'yes', 'score': 5}"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            content = json.dumps(
                body | {"usage": {"completion_tokens": 1, "prompt_tokens": 1, "total_tokens": 2}}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    judge = EndpointJudge("m", base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="secret")
    references = [{"question": "What?", "answer": "dog"}]
    result = JudgedAccuracy(judge).compute(predictions=["dog"], references=references)
    server.shutdown()
    assert result["accuracy"] == 100 and result["judge"]["model"] == "m" and "secret" not in json.dumps(result)
    ((path, authorization, request),) = asked
    assert path == "/v1/chat/completions" and authorization == "Bearer secret"
    assert request["temperature"] == 0 and request["messages"][1]["content"].startswith("Please evaluate")
