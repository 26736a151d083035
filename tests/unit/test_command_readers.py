"""What reads command blocks, and what compares with what they show, finds faults."""

from pathlib import Path

import pytest
from support.documents import Step, blocks_of
from support.shown_output import difference

PAGE = """\
# Title

```sh
first                   # a note
second \\
    goes on

for each in 1 2; do
    third
done
```

- in a list:

  ```console
  $ indented
  ```

## Other

~~~console
$ run it
12 files
...
$ and this
~~~

````text
```
````
"""


def test_blocks_are_found_with_their_section_and_steps(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    script, indented, session, text = blocks_of(path, tmp_path)

    assert script.name == "page.md / Title / 1"
    assert [step.command for step in script.steps] == [
        "first                   # a note",
        "second \\\n    goes on",
        "for each in 1 2; do\n    third\ndone",
    ]
    assert (indented.name, indented.steps) == ("page.md / Title / 2", [Step("indented")])
    assert session.steps == [Step("run it", ("12 files", "...")), Step("and this")]
    assert (text.kind, text.text, text.number) == ("text", "```", 2)


@pytest.mark.parametrize("text", ["```sh\nif true; then\n```\n", "```console\nno prompt\n```\n"])
def test_a_block_that_cannot_be_typed_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(text)
    [block] = blocks_of(path, tmp_path)

    with pytest.raises(AssertionError):
        assert block.steps == []


def test_a_block_that_is_not_closed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("```sh\nfirst\n")

    with pytest.raises(AssertionError, match="not closed"):
        blocks_of(path, tmp_path)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "...", "c"], ["a", "b", "b", "c"]),
        (["...", "c"], ["c", "b", "c"]),
        (["a", "..."], ["a", "b", "c"]),
        (["...", "a", "..."], ["a"]),
        (["dhp1_6WaN...", "12-048219-cactus-dentist"], ["dhp1_x-y_z", "0-123456-a-b-c --relay u"]),
        (["sent 1.5MiB, confirmed after 0.1 s, 15.0MiB/s, by direct 203.0.113.9:49145"],
         ["sent 9B, confirmed after 12 s, 3B/s, by relay own (h:1) (relayed: it broke)"]),
        (["a"], ["waiting for the other side (2 s)", "a"]),
        (["304 entries, 1.3MiB", "a"], ["a", "304 entries, 1.4MiB"]),
    ],
)  # fmt: skip
def test_what_was_printed_as_shown_is_let_pass(shown: list[str], printed: list[str]) -> None:
    assert difference(shown, printed, may_go_on=False) is None


@pytest.mark.parametrize(
    ("shown", "printed", "missing"),
    [
        (["a", "b"], ["a"], "b"),
        (["a", "b"], ["b", "a"], "a"),
        (["a"], ["a", "b"], "nothing behind line 1"),
        (["a", "...", "a"], ["a", "b"], "a"),
        (["client 1 is connected"], ["client 2 is connected"], "client 1 is connected"),
        (["304 entries, 1.3MiB"], ["305 entries, 1.3MiB"], "304 entries, 1.3MiB"),
        (["sent 5B."], ["sent 5B!"], "sent 5B."),
    ],
)
def test_what_was_not_printed_as_shown_is_named(
    shown: list[str], printed: list[str], missing: str
) -> None:
    assert difference(shown, printed, may_go_on=False) == missing


def test_a_program_that_runs_may_say_more_but_not_less() -> None:
    assert difference(["a"], ["a", "b"], may_go_on=True) is None
    assert difference(["a", "b"], ["a"], may_go_on=True) == "b"
