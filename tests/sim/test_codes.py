"""Codes in a simulated world: the honest meet, guessers and squatters are bounded and told of."""

import random
from collections import Counter

import pytest
from code_world import (
    LATENCY_S,
    REGION,
    ClaimerSide,
    Connection,
    IssuerSide,
    Relay,
    kind_of,
)

from derphole.token.code import Code, drawn_code
from derphole.token.code_words import WORDS
from derphole.token.typed_code import parse_code
from tunnel.crypto.cpace import Role
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.proto.code.code_issuer import (
    MOST_RUNS,
    PROBE_S,
    RUNS,
    CodeEnd,
)
from tunnel.proto.code.code_series import MOST_DEAD
from tunnel.proto.meeting.owner import CodeFault
from tunnel.wire.code import (
    HELLO_SIZE,
    Hello,
    Proof,
    Share,
    Wrong,
    decode_code_message,
    encode_code_message,
)

TOKEN = b"dhp1_the-token"


def ready(relay: Relay, **rest) -> IssuerSide:
    """Return an issuer that shows a code."""
    issuer = IssuerSide(relay, **rest)
    relay.run(3.0, lambda: issuer.ready)
    assert issuer.code is not None
    return issuer


def other_words(code: str, seed: int = 1) -> str:
    """Return the code with other words."""
    rng, right = random.Random(seed), parse_code(code)
    while (words := tuple(rng.choices(WORDS, k=len(right.words)))) == right.words:
        pass
    return Code(right.region, right.digits, words).text


def meeting_of(code: str) -> KeyPair:
    """Return what everybody can make who knows the digits."""
    return parse_code(code).terms.meeting


def test_a_code_leads_to_the_token_in_two_round_trips():
    relay = Relay(1)
    issuer = ready(relay)
    began = relay.now
    claimer = ClaimerSide(relay, issuer.code)
    relay.run(5.0, lambda: claimer.is_over)
    assert claimer.answered == TOKEN
    assert relay.now - began == pytest.approx(4 * LATENCY_S)
    assert issuer.redeemed == [claimer.key]
    assert not issuer.wrong
    kinds = Counter(kind_of(data) for _, _, data in relay.seen)
    assert kinds == {"Probe": 2, "Hello": 1, "Share": 1, "Proof": 1, "Answer": 1}


def test_it_is_shown_only_after_the_meeting_was_looked_at_and_proved():
    relay = Relay(2)
    issuer = IssuerSide(relay)
    relay.run(3.5 * LATENCY_S)
    assert issuer.meeting is None  # NotHere has come, and the login takes its time
    relay.run(LATENCY_S)
    assert issuer.meeting is not None
    assert not issuer.ready
    relay.run(LATENCY_S)
    assert len(issuer.ready) == 1


@pytest.mark.parametrize("count", [2, 3, 6])
def test_codes_of_more_words(count):
    relay = Relay(3)
    issuer = ready(relay, words=count)
    assert len(parse_code(issuer.code).words) == count
    claimer = ClaimerSide(relay, issuer.code)
    relay.run(5.0, lambda: claimer.is_over)
    assert claimer.answered == TOKEN


def test_wrong_words_are_told_to_both_at_once_and_the_right_ones_still_serve():
    relay = Relay(4)
    issuer = ready(relay)
    wrong = ClaimerSide(relay, other_words(issuer.code))
    relay.run(5.0, lambda: wrong.is_over)
    assert wrong.failed is not None
    assert wrong.failed.fault is CodeFault.WRONG
    assert wrong.failed.is_spent
    assert [each.count for each in issuer.wrong] == [1]
    right = ClaimerSide(relay, issuer.code)
    relay.run(5.0, lambda: right.is_over)
    assert right.answered == TOKEN


def test_three_wrong_ones_end_a_code_and_three_dead_codes_end_them_all():
    relay = Relay(5)
    issuer = ready(relay)
    verdicts = 0
    for number in range(MOST_DEAD):
        code = issuer.code
        for guess in range(5):
            claimer = ClaimerSide(relay, other_words(code, guess))
            relay.run(15.0, lambda claimer=claimer: claimer.is_over)
            verdicts += claimer.failed.fault is CodeFault.WRONG
        assert len(issuer.dead) == number + 1
        assert issuer.dead[-1].reason is CodeEnd.GUESSED
        assert issuer.dead[-1].is_last == (number == MOST_DEAD - 1)
        relay.run(3.0, lambda number=number: len(issuer.ready) > number + 1)
    assert verdicts == 9
    assert len(issuer.wrong) == 9
    assert len(issuer.ready) == MOST_DEAD
    assert issuer.code is None
    assert issuer.meeting is None


class Guesser:
    """Somebody with one connection and one run, who proves at once or waits."""

    def __init__(self, relay: Relay, code: str, *, is_right: bool = False) -> None:
        self.relay = relay
        keys = KeyPair.from_secret(relay.entropy(32))
        self.key = DerpKey(keys.public)
        self.meeting = DerpKey(meeting_of(code).public)
        self.session = relay.entropy(16)
        terms = parse_code(
            code if is_right else other_words(code, relay.rng.randrange(2**30))
        ).terms
        self.run = terms.run(Role.INITIATOR, self.key, self.session, relay.entropy(32))
        self.share: bytes | None = None
        self.verdicts = 0
        self.connection = Connection(relay, keys, self._packet)

    def hello(self) -> None:
        message = Hello(self.session, self.run.share)
        self.connection.send(self.meeting, encode_code_message(message))

    def prove(self) -> None:
        if self.share is not None:
            tag = self.run.agree(self.share).initiator_tag
            self.connection.send(self.meeting, encode_code_message(Proof(self.session, tag)))

    def _packet(self, source, data) -> None:
        message = decode_code_message(data)
        if isinstance(message, Share):
            self.share = message.share
        else:
            self.verdicts += 1


@pytest.mark.parametrize("at_once", [1, 64])
def test_ten_thousand_guesses_get_three_verdicts_a_code_and_nine_a_command(at_once, is_full):
    relay = Relay(6)
    issuer = ready(relay)
    guesses, of_code = 0, Counter()
    total = 10_000 if is_full else 1500
    while guesses < total:
        code = issuer.code or issuer.ready[-1]
        group = [Guesser(relay, code) for _ in range(at_once)]
        guesses += at_once
        for each in group:
            each.hello()
        relay.run(3 * LATENCY_S if issuer.code is None else at_once / RUNS.rate + 3 * LATENCY_S)
        for each in group:
            each.prove()
        relay.run(3 * LATENCY_S)
        of_code[code] += sum(each.verdicts for each in group)
        for each in group:
            each.connection.close()
        relay.run(0.5, lambda: issuer.code)
    assert sum(of_code.values()) == len(issuer.wrong) <= 9
    assert all(count <= 3 for count in of_code.values())
    assert len(issuer.dead) == MOST_DEAD
    assert not issuer.redeemed


def test_sixty_four_proofs_at_once_get_three_verdicts():
    """All runs are open before the first proof: checking and counting is one step."""
    relay = Relay(7)
    issuer = ready(relay)
    group = [Guesser(relay, issuer.code) for _ in range(64)]
    for each in group:
        each.hello()
        relay.run(1 / RUNS.rate)
    assert all(each.share is not None for each in group)
    for each in group:
        each.prove()
    relay.run(3 * LATENCY_S)
    assert sum(each.verdicts for each in group) == 3
    assert len(issuer.wrong) == 3
    assert issuer.dead[0].reason is CodeEnd.GUESSED


def test_a_run_has_one_proof_whatever_comes_after_it():
    relay = Relay(8)
    issuer = ready(relay)
    guesser = Guesser(relay, issuer.code)
    guesser.hello()
    relay.run(3 * LATENCY_S)
    guesser.prove()
    relay.run(3 * LATENCY_S)
    assert (guesser.verdicts, len(issuer.wrong)) == (1, 1)
    guesser.prove()  # the same bytes: the same answer, and nothing is counted
    relay.run(3 * LATENCY_S)
    assert (guesser.verdicts, len(issuer.wrong)) == (2, 1)
    for number in range(50):
        proof = Proof(guesser.session, number.to_bytes(64, "big"))
        guesser.connection.send(guesser.meeting, encode_code_message(proof))
    guesser.session = relay.entropy(16)
    guesser.hello()  # a second run of the same key
    relay.run(1.0)
    guesser.prove()
    relay.run(1.0)
    assert (guesser.verdicts, len(issuer.wrong)) == (2, 1)


def test_five_hundred_runs_end_a_code():
    relay = Relay(9)
    issuer = ready(relay)
    code = issuer.code
    for _ in range(MOST_RUNS + 1):
        Guesser(relay, code).hello()
        relay.run(1 / RUNS.rate)
    relay.run(3.0, lambda: len(issuer.ready) == 2)
    assert [each.reason for each in issuer.dead] == [CodeEnd.BURNT]
    assert not issuer.wrong
    claimer = ClaimerSide(relay, issuer.code)
    relay.run(5.0, lambda: claimer.is_over)
    assert claimer.answered == TOKEN


def test_a_flood_of_hellos_opens_few_runs_and_gets_no_more_than_it_sends():
    relay = Relay(10)
    issuer = ready(relay)
    group = [Guesser(relay, issuer.code) for _ in range(300)]
    for each in group:
        each.hello()
    relay.run(1.0)
    answered = [data for source, _, data in relay.seen if source == issuer.meeting.key]
    assert len(answered) <= RUNS.burst + RUNS.rate
    assert all(len(data) < HELLO_SIZE for data in answered)


def test_a_meeting_where_somebody_is_already_is_not_used():
    relay = Relay(11)
    codes = [drawn_code(REGION, 2, relay.entropy) for _ in range(5)]
    taken = [Connection(relay, code.terms.meeting, lambda s, d: None) for code in codes[:2]]
    drawn = iter(codes)
    issuer = IssuerSide(relay, draw=lambda: next(drawn))
    relay.run(10.0, lambda: issuer.ready)
    assert issuer.ready == [codes[2].text]
    assert not issuer.dead
    assert taken


def test_not_here_of_some_other_key_says_nothing_of_the_meeting():
    relay = Relay(60)
    code = drawn_code(REGION, 2, relay.entropy)
    Connection(relay, code.terms.meeting, lambda s, d: None)
    issuer = IssuerSide(relay, draw=lambda: code)
    issuer.series.handle_not_here(relay.now, DerpKey(bytes(32)))
    issuer.work()
    relay.run(20.0)
    assert issuer.meeting is None
    assert not issuer.ready


def test_after_three_taken_ones_there_is_no_code_and_that_is_told():
    relay = Relay(12)
    codes = [drawn_code(REGION, 2, relay.entropy) for _ in range(3)]
    for code in codes:
        Connection(relay, code.terms.meeting, lambda s, d: None)
    drawn = iter(codes)
    issuer = IssuerSide(relay, draw=lambda: next(drawn))
    relay.run(10.0, lambda: issuer.none)
    assert [each.reason for each in issuer.none] == [CodeEnd.TAKEN]
    assert not issuer.ready


def test_who_squats_on_a_code_that_is_shown_is_noticed_and_learns_nothing():
    relay = Relay(13)
    issuer = ready(relay)
    code, shown_at = issuer.code, relay.now
    heard: list[bytes] = []
    squatter = Connection(relay, meeting_of(code), lambda source, data: heard.append(data))
    squatter.send(DerpKey(bytes(32)), b"here I am")
    claimer = ClaimerSide(relay, code)
    relay.run(30.0, lambda: claimer.is_over)
    assert claimer.failed is not None
    assert claimer.failed.fault is CodeFault.SILENT
    assert not claimer.failed.is_spent
    relay.run(40.0, lambda: issuer.dead)
    assert issuer.dead[0].reason is CodeEnd.SQUATTED
    assert relay.now - shown_at <= 3 * PROBE_S + 1.0
    relay.run(5.0, lambda: len(issuer.ready) == 2)
    again = ClaimerSide(relay, issuer.code)
    relay.run(5.0, lambda: again.is_over)
    assert again.answered == TOKEN


def test_a_squatter_that_answers_gets_one_guess_of_each_claimer():
    relay = Relay(14)
    issuer = ready(relay)
    code = issuer.code
    terms = parse_code(other_words(code)).terms
    proofs: list[bytes] = []

    def answer(source, data) -> None:
        message = decode_code_message(data)
        if isinstance(message, Hello):
            run = terms.run(Role.RESPONDER, source, message.session, relay.entropy(32))
            squatter.send(source, encode_code_message(Share(message.session, run.share)))
        elif isinstance(message, Proof):
            proofs.append(bytes(data))
            squatter.send(source, encode_code_message(Wrong(message.session)))

    squatter = Connection(relay, meeting_of(code), answer)
    squatter.send(DerpKey(bytes(32)), b"here I am")
    claimer = ClaimerSide(relay, code)
    relay.run(30.0, lambda: claimer.is_over)
    assert claimer.failed is not None
    assert claimer.failed.fault is CodeFault.WRONG
    assert len(set(proofs)) == 1


def test_an_answer_by_who_does_not_know_the_words_is_no_answer():
    relay = Relay(15)
    issuer = ready(relay)
    claimer = ClaimerSide(relay, issuer.code)

    def forge(source, to, data):
        if kind_of(data) == "Answer":
            changed = bytearray(data)
            changed[relay.rng.randrange(24, len(changed))] ^= 1
            return [(source, to, bytes(changed))]
        return [(source, to, data)]

    relay.tampering = forge
    relay.run(30.0, lambda: claimer.is_over)
    assert claimer.answered is None
    assert claimer.failed.fault is CodeFault.IMPOSTOR


def test_a_share_of_low_order_ends_the_run_on_either_side():
    relay = Relay(16)
    issuer = ready(relay)
    guesser = Guesser(relay, issuer.code)
    hello = encode_code_message(Hello(guesser.session, bytes(32)))
    guesser.connection.send(guesser.meeting, hello)
    relay.run(1.0)
    assert guesser.share is None  # unanswered
    relay.tampering = lambda s, t, data: [
        (s, t, encode_code_message(Share(decode_code_message(data).session, bytes(32))))
        if kind_of(data) == "Share"
        else (s, t, data)
    ]
    claimer = ClaimerSide(relay, issuer.code)
    relay.run(5.0, lambda: claimer.is_over)
    assert claimer.failed is not None
    assert claimer.failed.fault is CodeFault.IMPOSTOR
    assert not claimer.failed.is_spent


def test_only_the_first_share_counts():
    relay = Relay(17)
    issuer = ready(relay)

    def double(source, to, data):
        if kind_of(data) == "Share":
            other = encode_code_message(Share(decode_code_message(data).session, b"\x09" * 32))
            return [(source, to, data), (source, to, other)]
        return [(source, to, data)]

    relay.tampering = double
    claimer = ClaimerSide(relay, issuer.code)
    relay.run(5.0, lambda: claimer.is_over)
    assert claimer.answered == TOKEN
    proofs = [data for _, _, data in relay.seen if kind_of(data) == "Proof"]
    assert len(set(proofs)) == 1


def test_what_is_replayed_or_reflected_changes_nothing():
    relay = Relay(18)
    issuer = ready(relay)

    def repeat(source, to, data):
        return [(source, to, data), (source, to, data), (to, source, data)]

    relay.tampering = repeat
    claimer = ClaimerSide(relay, issuer.code)
    relay.run(5.0, lambda: claimer.is_over)
    assert claimer.answered == TOKEN
    relay.run(2.0)
    assert len(issuer.redeemed) == 1
    assert not issuer.wrong
    # The whole exchange again, from another key: a proof is bound to who made it.
    replayer = KeyPair.from_secret(relay.entropy(32))
    got: list[str] = []
    stranger = Connection(relay, replayer, lambda source, data: got.append(kind_of(data)))
    relay.tampering = lambda s, t, d: [(s, t, d)]
    recorded = [data for source, _, data in relay.seen if source == claimer.key]
    for data in recorded:
        stranger.send(DerpKey(meeting_of(issuer.code).public), data)
        relay.run(3 * LATENCY_S)
    assert "Answer" not in got
    assert len(issuer.redeemed) == 1


@pytest.mark.parametrize("lost", ["Hello", "Share", "Proof", "Answer"])
def test_a_lost_message_is_made_good_with_the_same_bytes(lost):
    relay = Relay(19)
    issuer = ready(relay)
    dropped: list[bytes] = []

    def lose(source, to, data):
        if kind_of(data) == lost and len(dropped) < 2:
            dropped.append(data)
            return []
        return [(source, to, data)]

    relay.tampering = lose
    claimer = ClaimerSide(relay, issuer.code)
    relay.run(9.0, lambda: claimer.is_over)
    assert claimer.answered == TOKEN
    assert len(dropped) == 2
    for kind in ("Hello", "Share", "Proof", "Answer"):
        assert len({data for _, _, data in relay.seen if kind_of(data) == kind}) == 1
    assert len(issuer.redeemed) == 1


def test_two_claimers_with_the_right_words_are_both_told():
    relay = Relay(20)
    issuer = ready(relay)
    both = [ClaimerSide(relay, issuer.code) for _ in range(2)]
    relay.run(5.0, lambda: all(each.is_over for each in both))
    assert [each.answered for each in both] == [TOKEN, TOKEN]
    assert len(issuer.redeemed) == 2


def test_nobody_waits_there_is_said_soon():
    relay = Relay(21)
    claimer = ClaimerSide(relay, "12-048219-cactus-dentist")
    relay.run(20.0, lambda: claimer.is_over)
    assert claimer.failed.fault is CodeFault.ABSENT
    assert not claimer.failed.is_spent
    assert relay.now <= 5.5


def test_an_issuer_that_comes_back_within_seconds_is_found():
    relay = Relay(22)
    issuer = ready(relay)
    code = issuer.code
    issuer.cut_meeting(3.0)
    claimer = ClaimerSide(relay, code)
    relay.run(20.0, lambda: claimer.is_over)
    assert claimer.answered == TOKEN
    assert not issuer.dead


def test_a_meeting_that_was_taken_while_we_were_away_is_noticed():
    relay = Relay(23)
    issuer = ready(relay)
    issuer.cut_meeting(2.0)
    squatter = Connection(relay, meeting_of(issuer.code), lambda s, d: None)
    relay.run(2.5)
    squatter.send(DerpKey(bytes(32)), b"mine")
    relay.run(40.0, lambda: issuer.dead)
    assert issuer.dead[0].reason is CodeEnd.SQUATTED


def test_an_hour_of_waiting_costs_a_probe_every_ten_seconds_and_the_code_lives():
    relay = Relay(24)
    issuer = ready(relay, life_s=7200.0)
    before = len(relay.seen)
    relay.run(3600.0)
    assert not issuer.dead
    assert len(relay.seen) - before == pytest.approx(3600.0 / PROBE_S, abs=40)
    claimer = ClaimerSide(relay, issuer.code)
    relay.run(5.0, lambda: claimer.is_over)
    assert claimer.answered == TOKEN


def test_a_code_ends_with_its_token():
    relay = Relay(25)
    issuer = ready(relay, life_s=60.0)
    relay.run(61.0)
    assert issuer.meeting is None
    assert not issuer.dead
    claimer = ClaimerSide(relay, issuer.ready[0])
    relay.run(20.0, lambda: claimer.is_over)
    assert claimer.failed.fault is CodeFault.ABSENT


def test_a_code_that_rested_goes_on_with_what_was_counted():
    relay = Relay(26)
    issuer = ready(relay)
    code = issuer.code
    for seed in (1, 2):
        wrong = ClaimerSide(relay, other_words(code, seed))
        relay.run(5.0, lambda wrong=wrong: wrong.is_over)
    issuer.rest()
    assert issuer.meeting is None
    relay.run(60.0)
    assert not issuer.dead
    issuer.resume()
    relay.run(1.0)
    assert issuer.ready == [code]  # it is not shown twice
    right = ClaimerSide(relay, code)
    relay.run(5.0, lambda: right.is_over)
    assert right.answered == TOKEN
    third = ClaimerSide(relay, other_words(code, 3))
    relay.run(5.0, lambda: third.is_over)
    assert issuer.dead[0].reason is CodeEnd.GUESSED


def test_a_code_whose_meeting_was_taken_while_it_rested_is_dead():
    relay = Relay(27)
    issuer = ready(relay)
    issuer.rest()
    Connection(relay, meeting_of(issuer.code), lambda s, d: None)
    issuer.resume()
    relay.run(5.0, lambda: issuer.dead)
    assert issuer.dead[0].reason is CodeEnd.SQUATTED
    relay.run(5.0, lambda: len(issuer.ready) == 2)
    assert issuer.code is not None


def test_a_scanner_finds_that_codes_live_and_no_more():
    relay = Relay(28)
    issuer = ready(relay)
    right = parse_code(issuer.code)
    found: list[str] = []
    keys = KeyPair.from_secret(relay.entropy(32))
    scanner = Connection(relay, keys, lambda source, data: found.append(kind_of(data)))
    for number in range(500):
        digits = right.digits if number == 250 else f"{relay.rng.randrange(10**6):06}"
        meeting = Code(REGION, digits, right.words).terms.meeting
        hello = Hello(relay.entropy(16), KeyPair.from_secret(relay.entropy(32)).public)
        scanner.send(DerpKey(meeting.public), encode_code_message(hello))
    relay.run(2.0)
    assert found == ["Share"]
    assert not issuer.wrong
    assert not issuer.dead


def test_junk_at_a_meeting_changes_nothing():
    relay = Relay(29)
    issuer = ready(relay)
    keys = KeyPair.from_secret(relay.entropy(32))
    answers: list[bytes] = []
    junk = Connection(relay, keys, lambda source, data: answers.append(data))
    good = encode_code_message(Hello(relay.entropy(16), bytes(32)))
    for number in range(2000):
        data = bytearray(good if number % 2 else relay.entropy(relay.rng.randrange(1200)))
        if number % 2:
            data = data[: relay.rng.randrange(len(data))]
        junk.send(DerpKey(meeting_of(issuer.code).public), bytes(data))
    relay.run(1.0)
    assert not answers
    claimer = ClaimerSide(relay, issuer.code)
    relay.run(5.0, lambda: claimer.is_over)
    assert claimer.answered == TOKEN


# -- outages ------------------------------------------------------------------------------------


def test_an_outage_that_nobody_is_told_of_is_no_squatter():
    relay = Relay(40)
    issuer = ready(relay)
    code = issuer.code
    relay.run(23.0)
    relay.is_frozen = True
    relay.run(90.0)
    assert issuer.looks
    relay.is_frozen = False
    relay.run(30.0)
    assert not issuer.dead
    assert not issuer.none
    claimer = ClaimerSide(relay, code)
    relay.run(5.0, lambda: claimer.is_over)
    assert claimer.answered == TOKEN


@pytest.mark.parametrize("away_s", [0.5, 5.0, 30.0, 50.0])
@pytest.mark.parametrize("what", ["cut_home", "cut_meeting", "cut_both"])
def test_a_code_lives_through_what_is_away_for_a_while(what, away_s):
    for seed in range(8):
        relay = Relay(41 + seed)
        issuer = ready(relay)
        code = issuer.code
        relay.run(seed * 1.7)
        getattr(issuer, what)(away_s)
        relay.run(away_s + 20.0)
        assert not issuer.dead
        assert not issuer.none
        claimer = ClaimerSide(relay, code)
        relay.run(5.0, lambda claimer=claimer: claimer.is_over)
        assert claimer.answered == TOKEN


@pytest.mark.parametrize("at_s", [0.0, 0.01, 0.03, 0.05, 0.07, 0.09, 0.11])
@pytest.mark.parametrize("away_s", [0.04, 1.0, 30.0])
def test_an_outage_at_each_step_of_the_beginning_costs_nothing_but_time(at_s, away_s):
    relay = Relay(50)
    issuer = IssuerSide(relay)
    relay.run(at_s)
    issuer.cut_both(away_s)
    relay.run(away_s + 15.0, lambda: issuer.ready)
    assert len(issuer.ready) == 1
    assert not issuer.none


@pytest.mark.parametrize("away_s", [0.04, 1.0, 30.0])
@pytest.mark.parametrize("at_s", [-0.5, 0.0, 0.01, 0.03, 0.05, 0.07, 0.09, 0.11])
def test_an_outage_while_a_code_is_resumed_does_not_end_it(at_s, away_s):
    relay = Relay(51)
    issuer = ready(relay)
    code = issuer.code
    issuer.rest()
    relay.run(10.0)
    if at_s < 0:
        issuer.cut_home(away_s)
        issuer.resume()
    else:
        issuer.resume()
        relay.run(at_s)
        issuer.cut_both(away_s)
    relay.run(away_s + 15.0)
    assert not issuer.dead
    assert not issuer.none
    claimer = ClaimerSide(relay, code)
    relay.run(5.0, lambda: claimer.is_over)
    assert claimer.answered == TOKEN


def test_a_flap_of_home_while_the_meeting_is_proved_is_no_squatter():
    relay = Relay(52)
    issuer = IssuerSide(relay)
    relay.run(10.0, lambda: issuer.meeting is not None)
    issuer.cut_home(0.0)
    relay.run(10.0, lambda: issuer.ready)
    assert len(issuer.ready) == 1


def test_lost_probes_while_the_meeting_is_proved_are_sent_again():
    relay = Relay(53)
    issuer = IssuerSide(relay)
    relay.run(10.0, lambda: issuer.meeting is not None)
    lost: list[bytes] = []

    def lose(source, to, data):
        if kind_of(data) == "Probe" and len(lost) < 2:
            lost.append(data)
            return []
        return [(source, to, data)]

    relay.tampering = lose
    relay.run(10.0, lambda: issuer.ready)
    assert len(issuer.ready) == 1


def test_a_meeting_that_cannot_be_entered_again_ends_the_code():
    relay = Relay(54)
    issuer = ready(relay)
    issuer.cut_meeting(10_000.0)
    relay.run(70.0, lambda: issuer.dead)
    assert issuer.dead[0].reason is CodeEnd.UNREACHABLE
    assert issuer.dead[0].is_last


def test_a_squatter_that_keeps_away_from_the_probes_cannot_foresee_them():
    """It learns when one came, and is gone for a moment ten seconds later, again and again."""
    relay = Relay(55)
    issuer = ready(relay, life_s=7200.0)
    squatter = Connection(relay, meeting_of(issuer.code), lambda s, d: None)

    def come() -> None:
        if issuer.dead:
            return
        squatter.is_open = True
        if squatter not in relay.connections:
            relay.connections.append(squatter)
        squatter.send(DerpKey(bytes(32)), b"mine")
        relay.after(PROBE_S - 0.6, go)

    def go() -> None:
        squatter.close()
        if issuer.meeting is not None:
            issuer.meeting.send(DerpKey(bytes(32)), b"ours")
        relay.after(0.6, come)

    come()
    relay.run(600.0, lambda: issuer.dead)
    assert issuer.dead
    assert issuer.dead[0].reason is CodeEnd.SQUATTED


def test_a_claimer_whose_issuer_left_after_its_share_ends_in_time():
    relay = Relay(56)
    issuer = ready(relay)
    claimer = ClaimerSide(relay, issuer.code)
    claimer.machine._limit_s = float("inf")  # as with --timeout 0
    relay.run(10.0, lambda: any(kind_of(data) == "Share" for _, _, data in relay.seen))
    issuer.rest()
    began = relay.now
    relay.run(60.0, lambda: claimer.is_over)
    assert claimer.failed is not None
    assert relay.now - began <= 10.5


def test_repeats_are_answered_at_a_bounded_rate():
    relay = Relay(57)
    issuer = ready(relay)
    guesser = Guesser(relay, issuer.code)
    for _ in range(1000):
        guesser.hello()
    relay.run(1.0)
    answered = [data for source, _, data in relay.seen if source == issuer.meeting.key]
    assert len(answered) <= 101
