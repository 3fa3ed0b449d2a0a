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
Open-ended answers, judged by a language model with Video-ChatGPT's prompt (https://arxiv.org/abs/2306.05424).

Which model judges decides the number, so judge and prompt are part of the result.
"""

import ast
import re
from collections.abc import Callable
from typing import Any

import datasets
import evaluate
import torch
from huggingface_hub import InferenceClient
from transformers import AutoModelForCausalLM, AutoTokenizer

from .confidence import mean
from .exact_match import _in_percent


SYSTEM_PROMPT = (
    "You are an intelligent chatbot designed for evaluating the correctness of generative outputs for question-answer pairs. "
    "Your task is to compare the predicted answer with the correct answer and determine if they match meaningfully. Here's how "
    "you can accomplish the task:"
    "------"
    "##INSTRUCTIONS: "
    "- Focus on the meaningful match between the predicted answer and the correct answer.\n"
    "- Consider synonyms or paraphrases as valid matches.\n"
    "- Evaluate the correctness of the prediction compared to the answer."
)
PROMPT = (
    "Please evaluate the following video-based question-answer pair:\n\n"
    "Question: {question}\n"
    "Correct Answer: {answer}\n"
    "Predicted Answer: {prediction}\n\n"
    "Provide your evaluation only as a yes/no and score where the score is an integer value between 0 and 5, with 5 indicating "
    "the highest meaningful match. "
    "Please generate the response in the form of a Python dictionary string with keys 'pred' and 'score', where value of 'pred' "
    "is  a string of 'yes' or 'no' and value of 'score' is in INTEGER, not STRING."
    "DO NOT PROVIDE ANY OTHER OUTPUT TEXT OR EXPLANATION. Only provide the Python dictionary string. "
    "For example, your response should look like this: {{'pred': 'yes', 'score': 4.8}}."
)

Messages = list[dict[str, str]]


class TransformersJudge:
    """
    A chat model of `transformers` as judge, whose answers depend on nothing but the question.

    Args:
        model (`str`): Folder or repository.
        revision (`str`, *optional*): Its revision.
        max_new_tokens (`int`, defaults to 64): Longest judgement.
        batch_size (`int`, defaults to 16): Judgements at a time.
        model_kwargs: Passed to `from_pretrained`: `device_map`, `dtype` and so on.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        max_new_tokens: int = 64,
        batch_size: int = 16,
        **model_kwargs: Any,
    ):
        self.tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, padding_side="left")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model = AutoModelForCausalLM.from_pretrained(model, revision=revision, **model_kwargs).eval()
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self.description = {"model": model, "revision": revision or getattr(self.model.config, "_commit_hash", None)}

    @torch.no_grad()
    def __call__(self, conversations: list[Messages]) -> list[str]:
        """What the model says to each conversation."""
        judgements = []
        for start in range(0, len(conversations), self.batch_size):
            inputs = self.tokenizer.apply_chat_template(
                conversations[start : start + self.batch_size],
                add_generation_prompt=True,
                padding=True,
                return_dict=True,
                return_tensors="pt",
            ).to(self.model.device)
            ids = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
            judgements += self.tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return judgements


class EndpointJudge:
    """
    A model behind an endpoint that speaks OpenAI's protocol as judge, at temperature 0. `HF_HUB_OFFLINE` forbids it, whatever
    the address.

    Args:
        model (`str`): Name of the model there.
        base_url (`str`, *optional*): The endpoint; by default Hugging Face's inference providers.
        api_key (`str`, *optional*): Key.
        max_tokens (`int`, defaults to 64): Longest judgement.
        seed (`int`, defaults to 0): Seed, for endpoints that take one.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        max_tokens: int = 64,
        seed: int = 0,
    ):
        where = {"base_url": base_url} if base_url is not None else {}
        self.client = InferenceClient(api_key=api_key, **where)
        self.model = model
        self.settings = {"temperature": 0.0, "max_tokens": max_tokens, "seed": seed}
        self.description = {"model": model, "base_url": base_url, **self.settings}

    def __call__(self, conversations: list[Messages]) -> list[str]:
        """What the model says to each conversation."""
        return [
            self.client.chat_completion(messages, model=self.model, **self.settings).choices[0].message.content or ""
            for messages in conversations
        ]


def make_conversation(question: str, answer: str, prediction: str) -> Messages:
    """What the judge is asked about one answer."""
    prompt = PROMPT.format(question=question, answer=answer, prediction=prediction)
    return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": prompt}]


def read_judgement(text: str) -> tuple[bool, float] | None:
    """
    Whether an answer is right, and its score from 0 to 5, or `None` where the judge did not say so in the form asked for.

    Args:
        text (`str`): What the judge said.
    """
    match = re.search(r"\{.*?\}", text, re.DOTALL)
    if match is None:
        return None
    try:
        judged = ast.literal_eval(match[0])
        verdict, score = str(judged["pred"]).strip().lower(), float(judged["score"])
    except (ValueError, SyntaxError, KeyError, TypeError):
        return None
    return (verdict == "yes", score) if verdict in ("yes", "no") and 0 <= score <= 5 else None


class JudgedAccuracy(evaluate.Metric):
    """
    Accuracy and score of open-ended answers by a judge. References have the "question" and the right "answer".

    Args:
        judge (`Callable`): [`TransformersJudge`], [`EndpointJudge`] or another: it takes conversations and returns what the
            model says, and its `description` is part of the result.

    Returns:
        `dict`: "accuracy", in percent, with "low" and "high" of its 95 % interval and "count"; "score", the mean from 0 to 5;
        "unreadable", the number of judgements that were in no form that can be read, whose answers are left out of both; "judge", its
        description; and "prompt".

    Raises:
        ValueError: If no judgement can be read.
    """

    def __init__(self, judge: Callable[[list[Messages]], list[str]], **kwargs):
        super().__init__(**kwargs)
        self.judge = judge

    def _info(self):
        return evaluate.MetricInfo(
            description=self.__class__.__doc__,
            citation="https://arxiv.org/abs/2306.05424",
            inputs_description='predictions: list of answers; references: list of {"question", "answer"}',
            features=datasets.Features(
                {
                    "predictions": datasets.Value("string"),
                    "references": {name: datasets.Value("string") for name in ("question", "answer")},
                }
            ),
        )

    def _compute(self, predictions, references):
        conversations = [
            make_conversation(truth["question"], truth["answer"], answer)
            for answer, truth in zip(predictions, references)
        ]
        judgements = [read_judgement(text) for text in self.judge(conversations)]
        readable = [judgement for judgement in judgements if judgement is not None]
        if not readable:
            raise ValueError("The judge gave no judgement that can be read.")
        return {
            **_in_percent("accuracy", [right for right, _ in readable]),
            "score": mean([score for _, score in readable])["value"],
            "unreadable": len(judgements) - len(readable),
            "judge": getattr(self.judge, "description", {}),
            "prompt": PROMPT,
        }
