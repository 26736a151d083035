"""Security checks, each with the change that would undo it and the tests that must notice.

source, exactly as it stands --> source without the check --> the named tests fail
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """One check undone.

    Args:
        name: the check.
        path: the module, from the root of the repository.
        text: source that occurs there exactly once.
        replacement: what takes its place.
        tests: arguments of pytest; as few and as fast as will do.
    """

    name: str
    path: str
    text: str
    replacement: str
    tests: tuple[str, ...]


PROOF = "derphole/speech/stream_proof.py"
RECEIVING = "derphole/transfer/receiving.py"
ENDS = ("tests/unit/derphole/test_transfer_ends.py", "-k")
EXTRACTION, PARTIAL = "derphole/edges/extraction.py", "derphole/edges/partial_file.py"
READER = "derphole/transfer/archive_reader.py"
HOSTILE, MADE = "tests/net/test_hostile_trees.py", "tests/net/test_tree_extraction.py"
RULES = ("tests/sim/test_conversation_rules.py", "-k")

CODE_ISSUER, CODE_CLAIMER = (
    "tunnel/proto/code/code_issuer.py",
    "tunnel/proto/code/code_claimer.py",
)
TERMS = "tunnel/proto/code/terms.py"
CODES = ("tests/sim/test_codes.py", "-k")
LEAKS = ("tests/sim/test_codes_leak_nothing.py", "-k")

MUTATIONS = (
    Mutation(
        "the MAC of a claim is compared",
        "tunnel/proto/meeting/handshake.py",
        "if not compare_digest(_mac(secret, claim, meeting), claim.mac):",
        "if not _mac(secret, claim, meeting):",
        ("tests/sim/test_meeting.py", "-k", "flipped_bit"),
    ),
    Mutation(
        "a packet is opened once",
        "tunnel/crypto/packets.py",
        "if number >= wire.MAX_NUMBER or (window is not None and not window.is_fresh(number)):",
        "if number >= wire.MAX_NUMBER:",
        ("tests/unit/crypto/test_sealed_packets.py",),
    ),
    Mutation(
        "a burst of packets is opened once",
        "tunnel/crypto/packets.py",
        "if window is not None and not window.is_fresh_run(first, count):",
        "if False:",
        ("tests/unit/crypto/test_sealed_packets.py",),
    ),
    Mutation(
        "no packet beyond the last number is opened",
        "tunnel/crypto/packets.py",
        "if number >= wire.MAX_NUMBER or (window is not None and not window.is_fresh(number)):",
        "if window is not None and not window.is_fresh(number):",
        ("tests/unit/crypto/test_sealed_packets.py", "-k", "last_number"),
    ),
    Mutation(
        "path 0 is the relay's and the relay has no other",
        "tunnel/proto/link/peer_link.py",
        "if isinstance(origin, UdpEndpoint) == (path == layout.RELAY_PATH):",
        "if False:",
        ("tests/unit/proto/link/test_misdirected_packets.py",),
    ),
    Mutation(
        "nothing of streams is stored for a claimer without a place",
        "tunnel/proto/link/peer_link.py",
        "if not (self._is_admitted or isinstance(frame, EARLY_FRAMES)):",
        "if False:",
        ("tests/sim/test_hostile_holders.py", "-k", "before_it_has_the_place_nothing"),
    ),
    Mutation(
        "a closed link is forgotten in time whatever arrives",
        "tunnel/proto/meeting/places.py",
        "if applicant.forget_at is not None and now >= applicant.forget_at:",
        "if False:",
        ("tests/sim/test_hostile_holders.py", "-k", "thirty_seconds"),
    ),
    Mutation(
        "what is never acknowledged is bounded for all streams together",
        "tunnel/proto/budget.py",
        "return (SHARE * left - self.held) // (SHARE + 1)",
        "return self._budget.size - self.held",
        ("tests/unit/proto/streams/test_shared_memory.py",),
    ),
    Mutation(
        "an expired grant is refused",
        "derphole/token/admission.py",
        "return ACCEPTED if wall < claim.grant.expires_at else Refusal.EXPIRED",
        "return ACCEPTED",
        ("tests/unit/derphole/token/test_admission.py",),
    ),
    Mutation(
        "one that left does not come back",
        "derphole/token/admission.py",
        "return ACCEPTED if may_come_back else Refusal.NOT_AWAITED",
        "return ACCEPTED",
        ("tests/unit/derphole/token/test_admission.py",),
    ),
    Mutation(
        "who only names a process replaces nobody",
        "tunnel/proto/meeting/places.py",
        "if not applicant.is_proven:",
        "if False:",
        ("tests/sim/test_places.py",),
    ),
    Mutation(
        "a grant's secret is good for its capability alone",
        "derphole/token/grant.py",
        "bytes([grant.capability]),",
        "bytes([0]),",
        ("tests/unit/derphole/token/test_grant.py",),
    ),
    Mutation(
        "nobody sends more than the credit",
        "tunnel/proto/streams/receive_stream.py",
        "if stop > self.limit:",
        "if False:",
        ("tests/unit/proto/streams/test_receive_stream.py",),
    ),
    Mutation(
        "nobody acknowledges what was never sent",
        "tunnel/proto/recovery/loss.py",
        "if largest >= self._next_number:",
        "if False:",
        ("tests/unit/proto/recovery/test_rtt_and_loss.py",),
    ),
    Mutation(
        "claims are limited",
        "tunnel/proto/meeting/issuer.py",
        "return of_grant and self._claims.try_take(now)",
        "return True",
        ("tests/sim/test_meeting.py", "-k", "answers_a_second"),
    ),
    Mutation(
        "a link's packets come from its claimer's key",
        "tunnel/proto/meeting/issuer.py",
        "if applicant is None or applicant.claimer != source:",
        "if applicant is None:",
        ("tests/sim/test_hostile_paths.py", "-k", "another_derp_key"),
    ),
    Mutation(
        "a claimer listens to the issuer's key alone",
        "tunnel/proto/meeting/claimer.py",
        "if source != self._identity.meeting.issuer_derp:",
        "if False:",
        ("tests/sim/test_hostile_paths.py", "-k", "another_derp_key"),
    ),
    Mutation(
        "the size of what was sent is compared with that of what was written",
        "derphole/speech/tally.py",
        "if written.size != sent.size:",
        "if False:",
        (*RULES, "is_not_true or something_else"),
    ),
    Mutation(
        "the digest of what was sent is compared with that of what was written",
        "derphole/speech/tally.py",
        "if written.digest != sent.digest:",
        "if False:",
        (*RULES, "is_not_true or something_else"),
    ),
    Mutation(
        "pipe fails when CONFIRM does not agree",
        PROOF,
        """        error = mismatch(self._fin, message)
        if error is not None:""",
        """        error = mismatch(self._fin, message)
        if False:""",
        (*RULES, "confirmation_of_something_else"),
    ),
    Mutation(
        "listen fails when FIN does not agree",
        PROOF,
        """        error = mismatch(fin, Confirm(self.tally.size, self.tally.digest))
        if error is not None:""",
        """        error = mismatch(fin, Confirm(self.tally.size, self.tally.digest))
        if False:""",
        (*RULES, "fin_that_is_not_true"),
    ),
    Mutation(
        "listen writes no more than FIN told",
        PROOF,
        "return self._check_room() or [*kept, Write(chunks)]",
        "return [*kept, Write(chunks)]",
        (*RULES, "more_than_fin_told"),
    ),
    Mutation(
        "listen keeps the place once a byte is written",
        PROOF,
        "return self._check_room() or [*kept, Write(chunks)]",
        "return self._check_room() or [Write(chunks)]",
        (*RULES, "first_byte_is_one"),
    ),
    Mutation(
        "listen keeps the place of an empty stream that is whole",
        PROOF,
        "return [*kept, Flush()]",
        "return [Flush()]",
        (*RULES, "empty_stream"),
    ),
    Mutation(
        "listen gives the place to another claimer before its first byte only",
        PROOF,
        "return not self.tally.size",
        "return True",
        (*RULES, "half_a_stream"),
    ),
    Mutation(
        "listen takes a lost link for another claimer's only when it is told so",
        PROOF,
        "if _is_replaced(end) and self._can_begin_again:",
        "if self._can_begin_again:",
        (*RULES, "leaves_before_its_first_byte"),
    ),
    Mutation(
        "listen confirms only what it has flushed",
        PROOF,
        "return [*kept, Flush()]",
        "return [*kept, Flush(), Say(encode(Confirm(self.tally.size, self.tally.digest)))]",
        (*RULES, "before_the_output_keeps_it"),
    ),
    Mutation(
        "listen has a stream only with its end",
        PROOF,
        "fin = self._fin if self._has_data_ended and self._has_all_else else None",
        "fin = self._fin",
        (*RULES, "without_the_end_of_the_data"),
    ),
    Mutation(
        "listen never confirms a stream that was given up",
        PROOF,
        "if self.state is not State.WHOLE or self._fin is None:",
        "if self._fin is None:",
        (*RULES, "given_up_while"),
    ),
    Mutation(
        "no end of the link is a success before the proof",
        PROOF,
        "        error = ending_error(end, self._unanswered)\n",
        "        return self._leave()\n        error = ending_error(end, self._unanswered)\n",
        (*RULES, "however_polite or however_clean"),
    ),
    Mutation(
        "nobody speaks out of turn",
        "derphole/speech/turns.py",
        "if type(message) not in MAY_COME[stage]:",
        "if False:",
        (*RULES, "out_of_turn"),
    ),
    Mutation(
        "no more bytes of a file are taken than were offered",
        RECEIVING,
        "if self.state is State.FLOWING and self.tally.size > self._limit:",
        "if False:",
        (*ENDS, "more_bytes"),
    ),
    Mutation(
        "nothing is confirmed before everything held was compared",
        RECEIVING,
        "return self._repairs is None or self._have_repairs_ended",
        "return True",
        (*ENDS, "repairs_are_missing"),
    ),
    Mutation(
        "nobody tells of bytes stored that were never sent",
        "derphole/transfer/sending.py",
        "if not self.stored < stored <= self.tally.size:",
        "if not self.stored < stored:",
        (*ENDS, "progress_that_cannot_be"),
    ),
    Mutation(
        "only so many finished entries are told",
        "derphole/transfer/held.py",
        "if self._told > MAX_HELD_ENTRIES:",
        "if False:",
        (*ENDS, "endless_finished"),
    ),
    Mutation(
        "a piece is repaired once, and only if it is held",
        "derphole/transfer/repairs.py",
        "if number >= self._claims.count or self._came[number]:",
        "if number >= self._claims.count:",
        (*ENDS, "repair_that_may_not_come"),
    ),
    Mutation(
        "a repair is no larger than what is held",
        "derphole/transfer/repairs.py",
        "if self._size > piece.size:",
        "if False:",
        (*ENDS, "repair_that_may_not_come"),
    ),
    Mutation(
        "repaired bytes are those that were announced",
        "derphole/transfer/repairs.py",
        "if self._digest.digest() != self._wanted:",
        "if False:",
        (*ENDS, "repair_of_other_bytes"),
    ),
    Mutation(
        "a record counts only behind those it was written behind",
        "derphole/transfer/journal.py",
        "checksum = _checksum(self._last, pending[:3], body)",
        'checksum = _checksum(b"", pending[:3], body)',
        ("tests/unit/derphole/test_journal.py",),
    ),
    Mutation(
        "a folder of a tree is not opened through a link",
        EXTRACTION,
        "fd = os.open(name, OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=folder.fd)",
        "fd = os.open(name, OPEN_FOLDER, dir_fd=folder.fd)",
        (MADE, "-k", "goes_on_through_no_link"),
    ),
    Mutation(
        "a new file of a tree is not opened through a link",
        PARTIAL,
        "flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK",
        "flags = os.O_RDWR | os.O_CREAT",
        (MADE, "-k", "never_goes_through"),
    ),
    Mutation(
        "a continued file of a tree is not opened through a link",
        PARTIAL,
        "os.O_RDWR | os.O_NONBLOCK | NO_LINK",
        "os.O_RDWR | os.O_NONBLOCK",
        (MADE, "-k", "another_thing"),
    ),
    Mutation(
        "a continued file of a tree has one name",
        PARTIAL,
        "elif status.st_nlink != 1 and not self._is_named_already(status):",
        "elif False:",
        (MADE, "-k", "another_thing"),
    ),
    Mutation(
        "a file of a tree replaces nothing unasked",
        PARTIAL,
        "    if replaces:\n        os.rename(",
        "    if True:\n        os.rename(",
        (MADE, "-k", "appears_meanwhile"),
    ),
    Mutation(
        "a link of a tree stays inside",
        EXTRACTION,
        "        if fault is not None:\n            raise _Refused(fault)\n        name, placed",
        "        name, placed",
        (HOSTILE, "-k", "no_link_leads_out"),
    ),
    Mutation(
        "names of what is under way are refused",
        EXTRACTION,
        "if is_reserved(its_name):",
        "if False:",
        (HOSTILE, "-k", "under_way"),
    ),
    Mutation(
        "nothing of a tree comes twice",
        READER,
        "if key <= self._latest:",
        "if False:",
        (HOSTILE, "-k", "broken"),
    ),
    Mutation(
        "nothing of a tree comes without its folder",
        READER,
        "or (path != name and not folders)",
        "",
        (HOSTILE, "-k", "broken"),
    ),
    Mutation(
        "no name of a tree leads up",
        READER,
        "if part_fault(name) or is_deep",
        "if is_deep",
        (HOSTILE, "-k", "no_name_leads_out"),
    ),
    Mutation(
        "no set-id bit comes with a tree",
        READER,
        "mode = header.mode & PERMISSIONS",
        "mode = header.mode",
        (MADE, "-k", "modes_are"),
    ),
    Mutation(
        "a folder that became a link is not walked into",
        "derphole/edges/source_tree.py",
        "flags = OPEN_FOLDER | (os.O_NOFOLLOW if folder is not None else 0)",
        "flags = OPEN_FOLDER",
        ("tests/net/test_source_tree.py", "-k", "becomes_a_link_while"),
    ),
    Mutation(
        "a file that became a link is not read",
        "derphole/edges/source_tree.py",
        "return os.open(self.name, OPEN_FILE | os.O_NOFOLLOW, dir_fd=self.folder)",
        "return os.open(self.name, OPEN_FILE, dir_fd=self.folder)",
        ("tests/net/test_source_tree.py", "-k", "becomes_a_link_or"),
    ),
    Mutation(
        "a share of low order ends the run",
        "tunnel/crypto/cpace.py",
        """    except (CryptoError, RuntimeError) as error:  # libsodium refuses points of low order itself
        raise AuthenticationFailed("a share of low order") from error
    if product == _NEUTRAL:""",
        """    except (CryptoError, RuntimeError):
        product = _NEUTRAL
    if False:""",
        ("tests/unit/crypto/test_cpace.py", "-k", "low_order"),
    ),
    Mutation(
        "each side says another thing along with its share",
        TERMS,
        'SAID = (b"claimer", b"issuer")',
        'SAID = (b"claimer", b"claimer")',
        (*LEAKS, "reflected"),
    ),
    Mutation(
        "the claimer's key is in the channel of a run",
        TERMS,
        "length_value(CHANNEL, self.place, claimer, self.meeting.public)",
        "length_value(CHANNEL, self.place, b'', self.meeting.public)",
        (*LEAKS, "somebody_else_sent_it"),
    ),
    Mutation(
        "the meeting is in the channel of a run",
        TERMS,
        "length_value(CHANNEL, self.place, claimer, self.meeting.public)",
        "length_value(CHANNEL, self.place, claimer, b'')",
        (*LEAKS, "another_implementation"),
    ),
    Mutation(
        "a wrong proof is counted",
        CODE_ISSUER,
        "self._wrong += 1",
        "self._wrong += 0",
        (*CODES, "three_wrong_ones"),
    ),
    Mutation(
        "a run has one proof",
        CODE_ISSUER,
        "if run.proof is not None:",
        "if run.proof == data:",
        (*CODES, "one_proof"),
    ),
    Mutation(
        "a key has one run",
        CODE_ISSUER,
        "if known is not None:",
        "if known is not None and known[1].hello == data:",
        (*CODES, "one_proof"),
    ),
    Mutation(
        "the first share counts and no other",
        CODE_CLAIMER,
        "case Share(_, share) if agreement is None:",
        "case Share(_, share):",
        (*CODES, "first_share"),
    ),
    Mutation(
        "a PROBE counts as lost only after a look at the connections",
        CODE_ISSUER,
        "if self._lost_at is not None and now - self._lost_at <= LOST_S:",
        "if True:",
        (*CODES, "nobody_is_told_of"),
    ),
    Mutation(
        "a meeting where somebody answers is not entered",
        CODE_ISSUER,
        "if self.state is CodeState.CHECKING and self._probes and key == self.meeting:",
        "if self.state is CodeState.CHECKING:",
        (*CODES, "other_key"),
    ),
)
