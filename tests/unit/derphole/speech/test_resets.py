"""Why a forwarded connection ended: every code has its words."""

from derphole.speech.resets import WORDS, ResetCode, reset_words


def test_every_code_has_words_of_its_own():
    assert set(WORDS) == set(ResetCode)
    assert len(set(WORDS.values())) == len(WORDS)
    assert reset_words(2) == "the target refused the connection"


def test_a_code_of_a_later_version_is_told_by_its_number():
    assert reset_words(77) == "reset for reason 77, unknown to this version"
    assert reset_words(0xFFFFFFFF)
