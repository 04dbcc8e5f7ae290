import pytest

from app.planning.wildcards import Wildcards, fixed_part


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("in/*.jsonl", "in/a.jsonl", True),
        ("in/*.jsonl", "in/.jsonl", False),
        ("in/*", "in/_SUCCESS", False),
        ("in/*", "in/a_b.c", True),
        ("in/?a", "in/.a", False),
        ("in/**", "in/_temporary/a", False),
        ("in/**", "in/b/.a.crc", False),
        ("**/*", "_a", False),
        ("in/_*", "in/_SUCCESS", True),
        ("in/.*", "in/.a", True),
        ("in/**/_x", "in/_x", True),
        ("in/**/_x", "in/a/b/_x", True),
        ("in/**_x", "in/_x", False),
        ("in/_a/*", "in/_a/b", True),
        ("in/_a/*", "in/_a/_b", False),
        ("in/*.jsonl", "in/b/a.jsonl", False),
        ("in/*.jsonl", "in/a.jsonl.gz", False),
        ("in/**.jsonl", "in/b/a.jsonl", True),
        ("in/**/a", "in/a", True),
        ("in/**/a", "in/x/y/a", True),
        ("in/**/a", "in/xa", False),
        ("in/**/a", "in/x/ya", False),
        ("**/*.csv", "x.csv", True),
        ("**/*.csv", "y/x.csv", True),
        ("**/**/**/x", "x", True),
        ("a**/b", "a/b", True),
        ("a**/b", "axx/y/b", True),
        ("a**/b", "ab", False),
        ("*/*/b", "x/b", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("a?c", "ac", False),
        ("a*", "a", True),
        ("**", "", True),
        ("2026-??-*/**", "2026-11-20/b/c", True),
        ("a.c", "abc", False),
        ("[ab]*", "a", False),
        ("a\nb*", "a\nbc", True),
    ],
)
def test_a_pattern_stands_for_a_whole_name(pattern: str, name: str, *, matches: bool) -> None:
    assert Wildcards(pattern).match(name) is matches


def test_many_stars_do_not_multiply_the_ways_to_try() -> None:
    assert not Wildcards("**a" * 300 + "b").match("a" * 1000)
    assert Wildcards("*a" * 300 + "*").match("a" * 1000)


@pytest.mark.parametrize(
    ("pattern", "fixed"), [("a/b*c", "a/b"), ("a/?", "a/"), ("**", ""), ("a/b", "a/b")]
)
def test_the_fixed_part_ends_before_the_first_wildcard(pattern: str, fixed: str) -> None:
    assert fixed_part(pattern) == fixed
