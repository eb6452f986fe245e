"""Chats: reading conversations, rendering them, and who wrote each token."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tiny
from conftest import cut_into_windows
from tokenizers.processors import ByteLevel
from transformers import AutoTokenizer, ByT5Tokenizer

from hiddenscope import corpus
from hiddenscope.corpus.chat import render
from hiddenscope.errors import InputError, SourceError
from hiddenscope.strata import CHAT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

BOS = "<|endoftext|>"

CHATML = """
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}"""

# What the model generates: the content and the end of its turn.
CHATML_MASKED = """
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}
{%- generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}
{%- else %}{{ message.content + '<|im_end|>' }}{% endif %}
{{- '\\n' }}
{%- endfor %}"""

# The system prompt is merged into the first user's turn, contents are trimmed.
LLAMA_2 = """
{%- if messages[0].role == 'system' %}
{%- set system = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}
{%- set rest = messages[1:] %}
{%- else %}{% set system = '' %}{% set rest = messages %}{% endif %}
{%- for message in rest %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('roles must alternate') }}
{%- endif %}
{%- if message.role == 'user' %}
{%- set content = system + message.content if loop.first else message.content %}
{{- bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
{%- else %}{{ ' ' + message.content.strip() + ' ' + eos_token }}{% endif %}
{%- endfor %}"""

GEMMA = """{{ bos_token }}
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}
{{- message.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}"""

# A default system prompt, tools, reasoning dropped in all but the last turn.
QWEN = """
{%- set last = namespace(user=0) %}
{%- for message in messages if message.role == 'user' %}
{%- set last.user = last.user + 1 %}
{%- endfor %}
{%- set seen = namespace(user=0) %}
{%- if messages[0].role != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' %}{% set seen.user = seen.user + 1 %}{% endif %}
{%- set content = message.content or '' %}
{%- if message.role == 'assistant' and '</think>' in content and seen.user < last.user %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>' + ('user' if message.role == 'tool' else message.role) + '\\n' + content }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson + '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}"""

# A tool's answer is written as JSON, under the name of the function that was called.
JSON_TOOLS = """
{%- set called = namespace(name='') %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '[TOOL ' + called.name + ']' + message.content | tojson }}
{%- elif message.tool_calls %}
{%- set called.name = message.tool_calls[0].function.name %}
{{- '[CALL ' + called.name + ']' }}
{%- for key, value in message.tool_calls[0].function.arguments.items() %}
{{- key + '=' + value | string + ';' }}
{%- endfor %}
{%- else %}{{ '[' + message.role + ']' + message.content }}{% endif %}
{%- endfor %}"""


def message(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def chat(*messages: dict[str, Any], tools: Any = None) -> corpus.Document:
    return corpus.Document(
        json.dumps(messages), "chats.jsonl:7", messages=messages, tools=tools and tuple(tools)
    )


SYSTEM = message("system", "Be brief, be kind.")
TURNS = (
    message("user", "Where is the mill?"),
    message("assistant", "By the river."),
    message("user", "And the barley?"),
    message("assistant", "Under water."),
)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    made = AutoTokenizer.from_pretrained(tiny.DEMO)
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return made


def told(
    tokenizer: PreTrainedTokenizerBase, template: str, document: corpus.Document
) -> list[tuple[str, str]]:
    """Return the runs of tokens of one stratum: its name and the text."""
    tokenizer.chat_template = template
    ids, strata = render(tokenizer, document)
    assert ids.dtype == np.int64
    assert strata.dtype == np.int8
    whole = tokenizer.apply_chat_template(
        list(document.messages or ()), tools=document.tools and list(document.tools), tokenize=False
    )
    assert tokenizer.decode(ids) == whole
    tokens = zip(strata.tolist(), ids.tolist(), strict=True)
    return [
        (CHAT[code], tokenizer.decode([i for _, i in run]))
        for code, run in groupby(tokens, key=lambda token: token[0])
    ]


def said(
    tokenizer: PreTrainedTokenizerBase, template: str, document: corpus.Document
) -> list[tuple[str, str]]:
    return [run for run in told(tokenizer, template, document) if run[0] != "template"]


def contents(*messages: dict[str, Any]) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in messages]


class TestRoles:
    def test_chatml(self, tokenizer: PreTrainedTokenizerBase) -> None:
        assert told(tokenizer, CHATML, chat(SYSTEM, *TURNS[:2])) == [
            ("template", "<|im_start|>system\n"),
            ("system", "Be brief, be kind."),
            ("template", "<|im_end|>\n<|im_start|>user\n"),
            ("user", "Where is the mill?"),
            ("template", "<|im_end|>\n<|im_start|>assistant\n"),
            ("assistant", "By the river."),
            ("template", "<|im_end|>\n"),
        ]

    def test_generation_blocks_alone_tell_what_is_the_assistants(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        assert said(tokenizer, CHATML_MASKED, chat(SYSTEM, *TURNS)) == [
            ("system", "Be brief, be kind."),
            ("user", "Where is the mill?"),
            ("assistant", "By the river.<|im_end|>"),
            ("user", "And the barley?"),
            ("assistant", "Under water.<|im_end|>"),
        ]

    def test_generation_blocks_are_those_that_transformers_finds(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        tokenizer.chat_template = CHATML_MASKED
        document = chat(SYSTEM, *TURNS)
        masks = tokenizer.apply_chat_template(
            list(document.messages or ()), return_assistant_tokens_mask=True, return_dict=True
        )["assistant_masks"]
        _, strata = render(tokenizer, document)
        assert (strata == CHAT.index("assistant")).astype(int).tolist() == masks

    def test_a_system_prompt_that_is_merged_into_the_first_turn(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        turns = (message("user", "Where?  \n"), message("assistant", "\n Here. "), TURNS[2])
        assert told(tokenizer, LLAMA_2, chat(SYSTEM, *turns)) == [
            ("template", f"{BOS}[INST] <<SYS>>\n"),
            ("system", "Be brief, be kind."),
            ("template", "\n<</SYS>>\n\n"),
            ("user", "Where?"),
            ("template", " [/INST]"),
            # The space before it is in the token of its first word.
            ("assistant", " Here."),
            ("template", f" {BOS}{BOS}[INST]"),
            ("user", " And the barley?"),
            ("template", " [/INST]"),
        ]

    def test_a_template_that_trims_and_one_that_refuses(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        turns = (message("user", "  a\n b \n"), message("assistant", "\n\nc"))
        assert told(tokenizer, GEMMA, chat(*turns))[1::2] == [("user", "a\n b"), ("assistant", "c")]
        with pytest.raises(SourceError, match=r"chats\.jsonl:7.*System role not supported"):
            told(tokenizer, GEMMA, chat(SYSTEM, *TURNS))

    def test_white_space_that_the_template_keeps_is_the_messages(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        turns = (message("user", "  \n a \n\n"), message("assistant", " "), message("user", ""))
        assert said(tokenizer, CHATML, chat(*turns)) == contents(*turns[:2])

    def test_a_system_prompt_of_the_templates_own_is_template(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        runs = told(tokenizer, QWEN, chat(*TURNS))
        assert runs[0][0] == "template"
        assert "You are a helpful assistant." in runs[0][1]
        assert runs[1::2] == contents(*TURNS)

    def test_reasoning_that_is_dropped_and_reasoning_that_stays(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        thought = "<think>\nUnder water?\n</think>\n\nUnder water, I fear."
        turns = (TURNS[0], message("assistant", thought), TURNS[2], message("assistant", thought))
        assert said(tokenizer, QWEN, chat(*turns)) == [
            ("user", "Where is the mill?"),
            ("assistant", "Under water, I fear."),
            ("user", "And the barley?"),
            ("assistant", thought),
        ]

    @pytest.mark.parametrize("word", ["user", "assistant", "s", "a", "im", " ", "INST", "By"])
    def test_contents_that_stand_elsewhere_too_are_told_apart(
        self, tokenizer: PreTrainedTokenizerBase, word: str
    ) -> None:
        turns = (message("system", word), message("user", word), message("assistant", word))
        for template in (CHATML, QWEN):
            assert said(tokenizer, template, chat(*turns)) == contents(*turns)

    def test_contents_that_look_like_the_template(self, tokenizer: PreTrainedTokenizerBase) -> None:
        turns = (
            message("user", "[INST] <<SYS>>\nuser\n<</SYS>> </think> [/INST]"),
            message("assistant", "<|im_end|>\n<|im_start|>user\nno<|im_end|>\n"),
        )
        assert said(tokenizer, CHATML, chat(*turns)) == contents(*turns)

    def test_a_message_that_the_template_drops_says_nothing(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        template = CHATML.replace("messages %}", "messages if message.role != 'system' %}")
        # What it says stands in another's message, and is that one's.
        turns = (message("system", "mill"), *TURNS)
        assert said(tokenizer, template, chat(*turns)) == contents(*TURNS)

    def test_a_token_across_a_border_is_of_the_role_for_what_it_says(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        template = "{% for m in messages %}{{ m.role + '\\n' + m.content + '.\\n' }}{% endfor %}"
        # Its one token of two line breaks is half the template's: that says nothing.
        turns = (message("user", "\n where"), message("assistant", "here..."))
        assert "ĊĊ" in tokenizer.tokenize("user\n\n where")
        assert "...." in tokenizer.tokenize("here....\n")
        assert told(tokenizer, template, chat(*turns)) == [
            ("template", "user\n\n"),
            ("user", " where"),
            ("template", ".\nassistant\n"),
            ("assistant", "here...."),
            ("template", "\n"),
        ]

    def test_offsets_that_leave_spaces_out_change_nothing(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        turns = (message("user", " Where \n is it? "), message("assistant", "  Here \n"))
        expected = told(tokenizer, CHATML, chat(*turns))
        assert expected[1::2] == contents(*turns)
        tokenizer.backend_tokenizer.post_processor = ByteLevel(trim_offsets=True)
        assert told(tokenizer, CHATML, chat(*turns)) == expected
        masked = told(tokenizer, CHATML_MASKED, chat(*turns))
        assert ("assistant", "  Here \n<|im_end|>") in masked

    def test_parts_characters_of_many_bytes_and_roles_of_other_names(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        template = """{% for m in messages %}{{ '[' + m.role + ']' }}
        {%- if m.content is string %}{{ m.content }}{% else %}
        {%- for part in m.content %}{{ part.text }}{% endfor %}{% endif %}{% endfor %}"""
        parts = [{"type": "text", "text": "Cối xay 🦆"}, {"type": "text", "text": " ở đâu?"}]
        turns = (
            message("developer", "\U000f0000 \U000f1234"),
            message("user", parts),
            message("function", "é"),
        )
        assert told(tokenizer, template, chat(*turns)) == [
            ("template", "[developer]"),
            ("system", "\U000f0000 \U000f1234"),
            ("template", "[user]"),
            ("user", "Cối xay 🦆 ở đâu?"),
            ("template", "[function]"),
            ("tool", "é"),
        ]

    def test_calls_of_tools(self, tokenizer: PreTrainedTokenizerBase) -> None:
        arguments = {"place": 'the "mill"', "days": 3, "deep": {"a": ["b"]}}
        call = {"type": "function", "function": {"name": "level", "arguments": arguments}}
        turns = (
            TURNS[0],
            {"role": "assistant", "content": None, "tool_calls": [call]},
            message("tool", '"high", {"metres": 3}\n'),
            TURNS[1],
        )
        assert told(tokenizer, QWEN, chat(SYSTEM, *turns))[4:10] == [
            ("template", '<|im_end|>\n<|im_start|>assistant\n<tool_call>\n{"name": "'),
            ("assistant", "level"),
            ("template", '", "arguments": '),
            ("assistant", json.dumps(arguments)),
            ("template", "}\n</tool_call><|im_end|>\n<|im_start|>user\n"),
            ("tool", '"high", {"metres": 3}\n'),
        ]
        simple = {"function": {"name": "level", "arguments": {"place": "mill", "days": 3}}}
        turns = (turns[0], {"role": "assistant", "tool_calls": [simple]}, *turns[2:])
        assert told(tokenizer, JSON_TOOLS, chat(*turns)) == [
            ("template", "[user]"),
            ("user", "Where is the mill?"),
            ("template", "[CALL"),
            ("assistant", " level"),
            ("template", "]"),
            ("assistant", "place"),
            ("template", "="),
            ("assistant", "mill"),
            ("template", ";"),
            ("assistant", "days"),
            # The name stands there a second time: the template wrote it.
            ("template", '=3;[TOOL level]"'),
            ("tool", '\\"high\\", {\\"metres\\": 3}\\n'),
            ("template", '"[assistant]'),
            ("assistant", "By the river."),
        ]

    @pytest.mark.parametrize(
        ("changed", "change"),
        [("content[:4]", lambda text: text[:4]), ("content | upper", str.upper)],
    )
    def test_what_the_template_changes_letter_by_letter_is_still_told(
        self, tokenizer: PreTrainedTokenizerBase, changed: str, change: Callable[[str], str]
    ) -> None:
        template = CHATML.replace("message.content", f"(message.{changed})")
        expected = [(role, change(text)) for role, text in contents(*TURNS)]
        assert said(tokenizer, template, chat(*TURNS)) == expected

    def test_what_the_template_rewrites_is_refused(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        template = CHATML.replace("message.content", "(message.content | replace('e', 'ee'))")
        match = r"chats\.jsonl:7: message 1 \(user\): the roles of its tokens cannot be told"
        with pytest.raises(SourceError, match=match):
            told(tokenizer, template, chat(*TURNS))


class TestRefused:
    def test_a_tokenizer_without_a_template(self, tokenizer: PreTrainedTokenizerBase) -> None:
        with pytest.raises(InputError, match=r"no chat template: use the instruction-tuned"):
            corpus.Windower(tokenizer, 8, chat=True)

    def test_a_tokenizer_that_is_slow(self) -> None:
        slow = ByT5Tokenizer()
        slow.chat_template = CHATML
        with pytest.raises(InputError, match=r"ByT5Tokenizer is a slow tokenizer"):
            corpus.Windower(slow, 8, chat=True)

    def test_a_text_is_no_conversation(self, tokenizer: PreTrainedTokenizerBase) -> None:
        tokenizer.chat_template = CHATML
        with pytest.raises(SourceError, match=r"a\.txt is a text.*chat=True"):
            render(tokenizer, corpus.Document("text", "a.txt"))

    def test_a_template_that_is_no_jinja(self, tokenizer: PreTrainedTokenizerBase) -> None:
        tokenizer.chat_template = "{% for %}"
        with pytest.raises(SourceError, match=r"chats\.jsonl:7"):
            render(tokenizer, chat(SYSTEM))


class TestReading:
    def write(self, path: Path, *rows: Any) -> str:
        path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
        return str(path)

    def test_a_row_is_a_document(self, tmp_path: Path) -> None:
        tools = [{"type": "function", "function": {"name": "level"}}]
        source = self.write(
            tmp_path / "a.jsonl",
            {"messages": [SYSTEM, *TURNS]},
            {"messages": list(TURNS), "tools": tools},
            {"messages": [message("user", "half \ud83d")], "tools": None},
        )
        first, second, third = corpus.documents([source], chat=True)
        assert first.name == f"{source}:1"
        assert first.messages == (SYSTEM, *TURNS)
        assert first.tools is None
        assert json.loads(first.text) == [SYSTEM, *TURNS]
        assert second.tools == tuple(tools)
        assert json.loads(second.text) == {"messages": list(TURNS), "tools": tools}
        assert third.messages == (message("user", "half \ufffd"),)
        assert len({first.digest, second.digest, third.digest}) == 3
        # Neither the order of the keys nor how JSON is spaced changes a conversation.
        backwards = [dict(reversed(m.items())) for m in (SYSTEM, *TURNS)]
        (same,) = corpus.documents(
            [self.write(tmp_path / "b.jsonl", {"chat": backwards})], column="chat", chat=True
        )
        assert same.digest == first.digest

    def test_of_a_folder_the_jsonl_files_are_read(self, tmp_path: Path) -> None:
        source = self.write(tmp_path / "a.JSONL", {"messages": list(TURNS)})
        (tmp_path / "README.md").write_text("no chat", "utf-8")
        (document,) = corpus.documents([str(tmp_path)], chat=True)
        assert document.name == f"{source}:1"
        assert corpus.size([str(tmp_path)], chat=True) == (tmp_path / "a.JSONL").stat().st_size

    def test_shards_never_cut_a_chat(self) -> None:
        documents = [chat(*TURNS), replace(chat(SYSTEM, *TURNS), index=1)]
        assert list(corpus.shards(documents, 16)) == [[documents[0]], [documents[1]]]

    @pytest.mark.parametrize(
        ("sources", "options", "match"),
        [
            (["a.txt"], {}, r"a\.txt' is not a \.jsonl file"),
            (["a.jsonl"], {"texts": ["hello"]}, r"\.jsonl files.*not from literal texts"),
            (["-"], {}, r"\.jsonl files.*not from '-'"),
            (["sample:mixed"], {}, r"\.jsonl files.*not from 'sample:mixed'"),
            ([], {}, r"\.jsonl files.*not from nothing"),
            (["a.jsonl"], {"split": "lines"}, r"not cut by lines"),
            (["folder"], {}, r"folder' holds no chats \(\.jsonl\)"),
            (["missing.jsonl"], {}, r"no file or folder 'missing\.jsonl'"),
        ],
    )
    def test_sources_that_hold_no_chats_are_refused_early(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        sources: list[str],
        options: dict[str, Any],
        match: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.txt").write_text("text", "utf-8")
        self.write(tmp_path / "a.jsonl", {"messages": list(TURNS)})
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "b.txt").write_text("text", "utf-8")
        with pytest.raises(SourceError, match=match):
            corpus.check_sources(sources, chat=True, **options)

    @pytest.mark.parametrize(
        ("row", "match"),
        [
            ({"text": "a"}, "no column 'messages' .it has 'text'."),
            ({"messages": "hello"}, "'messages' holds a text, expected a list of messages"),
            ({"messages": None}, "'messages' holds null"),
            ({"messages": []}, "'messages' holds no messages"),
            ({"messages": [SYSTEM, "hello"]}, "message 2 is a text, expected an object"),
            ({"messages": [{"content": "a"}]}, "message 1 has no 'role' .it has 'content'."),
            ({"messages": [{"from": "human", "value": "a"}]}, "has no 'role' .it has 'from'"),
            ({"messages": [message("human", "a")]}, "role 'human', expected one of system, user"),
            ({"messages": [message("user", "a"), message(["user"], "a")]}, "message 2 has the ro"),
            ({"messages": [{"role": "user"}]}, r"message 1 .user. has no 'content'"),
            ({"messages": [message("user", None)]}, "'content' holds null"),
            ({"messages": [message("assistant", None)]}, "'content' holds null"),
            ({"messages": [message("assistant", None, tool_calls=[])]}, "'content' holds null"),
            ({"messages": [message("user", 3)]}, "'content' holds a number"),
            ({"messages": [message("user", {"text": "a"})]}, "'content' holds an object"),
            ({"messages": [message("user", ["a"])]}, "part 1 of 'content' is a text"),
            (
                {"messages": [message("user", [{"type": "image", "url": "a"}])]},
                "part 1 of 'content' is an object of type 'image'",
            ),
            ({"messages": [message("user", [{"type": "text", "text": 3}])]}, "part 1 of 'conten"),
            ({"messages": [message("assistant", "", tool_calls="f()")]}, "'tool_calls' holds a t"),
            ({"messages": [message("assistant", "", tool_calls=[{}])]}, "'tool_calls' holds a l"),
            ({"messages": [SYSTEM], "tools": "[]"}, "'tools' holds a text"),
        ],
    )
    def test_rows_that_are_no_conversation_are_refused_by_line(
        self, tmp_path: Path, row: Any, match: str
    ) -> None:
        source = self.write(tmp_path / "chats.jsonl", {"messages": [SYSTEM]}, row)
        with pytest.raises(SourceError, match=rf"chats\.jsonl:2.*{match}"):
            list(corpus.documents([source], chat=True))

    def test_a_call_goes_without_content(self, tmp_path: Path) -> None:
        calls = [{"function": {"name": "level", "arguments": "{}"}}, {"name": "level"}]
        row = {"messages": [{"role": "assistant", "tool_calls": calls}]}
        (document,) = corpus.documents([self.write(tmp_path / "a.jsonl", row)], chat=True)
        assert document.messages == tuple(row["messages"])


class TestWindows:
    def test_a_conversation_is_cut_as_it_is_rendered(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        tokenizer.chat_template = CHATML
        documents = [chat(SYSTEM, *TURNS), replace(chat(*TURNS), index=1)]
        windower = corpus.Windower(tokenizer, 8, chat=True)
        windows, tally = cut_into_windows(windower, documents)
        assert windower.strata == CHAT
        for number, document in enumerate(documents):
            own = [w for w in windows if (w.document == number).all()]
            ids, strata = render(tokenizer, document)
            np.testing.assert_array_equal(np.concatenate([w.ids[0] for w in own]), ids)
            np.testing.assert_array_equal(np.concatenate([w.strata[0] for w in own]), strata)
            assert [w.length for w in own[:-1]] == [8] * (len(own) - 1)
            assert [int(w.window[0]) for w in own] == list(range(len(own)))
            assert {int(w.digest[0]) for w in own} == {document.digest}
        assert all(w.starts.tolist() == [[True] + [False] * (w.length - 1)] for w in windows)
        assert (tally.documents, tally.cut, tally.with_bos) == (2, 2, 0)

    def test_bos(self, tokenizer: PreTrainedTokenizerBase) -> None:
        tokenizer.chat_template = GEMMA
        document = chat(*TURNS)
        ids, _ = render(tokenizer, document)
        assert ids[0] == tokenizer.bos_token_id
        made = {
            bos: cut_into_windows(corpus.Windower(tokenizer, 8, bos=bos, chat=True), [document])[0]
            for bos in corpus.BOS_MODES
        }
        opened = [w.ids[0, 0] == 0 for w in made["auto"]]
        assert opened == [True] + [False] * (len(opened) - 1)
        np.testing.assert_array_equal(np.concatenate([w.ids[0] for w in made["never"]]), ids[1:])
        assert all(w.ids[0, 0] == 0 and w.length <= 8 for w in made["add"])
        assert all(w.strata[0, 0] == CHAT.index("template") for w in made["add"])
        # The template's own stands at the start of the first window: no second one is put there.
        np.testing.assert_array_equal(np.concatenate([w.ids[0, 1:] for w in made["add"]]), ids[1:])

    def test_packed(self, tokenizer: PreTrainedTokenizerBase) -> None:
        tokenizer.chat_template = CHATML
        documents = [chat(*TURNS), chat(SYSTEM, *TURNS)]
        windower = corpus.Windower(tokenizer, 16, pack=True, chat=True)
        windows, _ = cut_into_windows(windower, documents)
        rendered = [render(tokenizer, d) for d in documents]
        eos, template = tokenizer.eos_token_id, CHAT.index("template")
        expected = [i for ids, _ in rendered for i in [*ids, eos]]
        assert np.concatenate([w.ids[0] for w in windows]).tolist() == expected
        base = [s for _, strata in rendered for s in [*strata, template]]
        assert np.concatenate([w.strata[0] for w in windows]).tolist() == base
