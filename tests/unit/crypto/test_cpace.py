"""Our CPace against the draft's vectors, its bad points, and the `cpace` package; its refusals."""

import random

import cpace as oracle
import pytest

from tunnel.crypto.cpace import CPace, Role, generator, is_tag, length_value, multiply
from tunnel.errors import AuthenticationFailed

# draft-irtf-cfrg-cpace-21, test vector for CPace using group X25519 and hash SHA-512.
WORDS = b"Password"
CHANNEL = bytes.fromhex("0b415f696e69746961746f720b425f726573706f6e646572")
SESSION = bytes.fromhex("7e4b4791d6a8ef019b936c79fb7f2c57")
GENERATOR = "d04bf6d41f6a289632a2e929fa29bebd51092512a7829fdde7d314b62f05a73f"
SECRET_A = bytes.fromhex("21b4f4bd9e64ed355c3eb676a28ebedaf6d8f17bdc365995b319097153044080")
SHARE_A = "1d13c89278cdadd826f6d8d7f887701430f8380ddc17611cdd6dc989ce0c9f32"
SECRET_B = bytes.fromhex("848b0779ff415f0af4ea14df9dd1d3c29ac41d836c7808896c4eba19c51ac40a")
SHARE_B = "248cccf6d5cdc3646f0ad593f9e6cef4e69d4945f8372e623512ecea32185623"
DATA = (b"ADa", b"ADb")
KEY = (
    "6e19b875f7a561d6b3ca3dbb9ef42ac55de3e717881018204b8922b4d5e53bb2"
    "aa82c300bea7b65d2b671da71922ddf6472301b79bc270adfa8bf413285f2263"
)
# The same draft: points that must end a run, and points that must not since bit 255 is ignored.
SCALAR = bytes.fromhex("af46e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449aff")
LOW_ORDER = (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)
TOP_BIT_SET = {
    "daffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": (
        "d8e2c776bbacd510d09fd9278b7edcd25fc5ae9adfba3b6e040e8d3b71b21806"
    ),
    "dbffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": (
        "c85c655ebe8be44ba9c0ffde69f2fe10194458d137f09bbff725ce58803cdb38"
    ),
    "d9ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": (
        "db64dafa9b8fdd136914e61461935fe92aa372cb056314e1231bc4ec12417456"
    ),
    "cdeb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880": (
        "e062dcd5376d58297be2618c7498f55baa07d7e03184e8aada20bca28888bf7a"
    ),
    "4c9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7": (
        "993c6ad11c4c29da9a56f7691fd0ff8d732e49de6250b6c2e80003ff4629a175"
    ),
}
RUNS = 1000


def side(role, secret, *, words=WORDS, channel=CHANNEL, session=SESSION, data=DATA):
    return CPace(role, words, channel, session, secret, data)


def test_the_drafts_vector():
    assert generator(WORDS, CHANNEL, SESSION).hex() == GENERATOR
    ours, theirs = side(Role.INITIATOR, SECRET_A), side(Role.RESPONDER, SECRET_B)
    assert ours.share.hex() == SHARE_A
    assert theirs.share.hex() == SHARE_B
    agreement = ours.agree(theirs.share)
    assert agreement.key.hex() == KEY
    other = theirs.agree(ours.share)
    assert (other.key, other.initiator_tag, other.responder_tag) == (
        agreement.key,
        agreement.initiator_tag,
        agreement.responder_tag,
    )
    assert agreement.initiator_tag != agreement.responder_tag


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_share_of_low_order_ends_the_run(point):
    for role in Role:
        with pytest.raises(AuthenticationFailed):
            side(role, SECRET_A).agree(bytes.fromhex(point))
    with pytest.raises(AuthenticationFailed):
        multiply(SCALAR, bytes.fromhex(point))


@pytest.mark.parametrize(("point", "product"), TOP_BIT_SET.items())
def test_the_topmost_bit_of_a_share_is_ignored(point, product):
    assert multiply(SCALAR, bytes.fromhex(point)).hex() == product


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_share_of_another_size_is_refused(size):
    with pytest.raises(AuthenticationFailed):
        side(Role.RESPONDER, SECRET_B).agree(b"\x09" * size)


def test_a_thousand_runs_agree_with_the_other_implementation():
    """Either side is ours and the other is the package's, with inputs of many sizes."""
    rng = random.Random(17)
    for number in range(RUNS):
        words = rng.randbytes(rng.choice((0, 1, 12, 40, 117, 118, 119, 130, 300)))
        channel, session = rng.randbytes(rng.choice((0, 1, 90, 200))), rng.randbytes(16)
        data = (rng.randbytes(rng.randrange(20)), rng.randbytes(rng.randrange(20)))
        role = Role.INITIATOR if number % 2 else Role.RESPONDER
        is_first = role is Role.INITIATOR
        ours = CPace(role, words, channel, session, rng.randbytes(32), data)
        theirs = oracle.CPace.start(
            role=oracle.CPaceRole.RESPONDER if is_first else oracle.CPaceRole.INITIATOR,
            prs=words,
            sid=session,
            ci=channel,
            ad=data[1] if is_first else data[0],
        )
        agreement = ours.agree(theirs.public_share)
        theirs.derive(ours.share, data[0] if is_first else data[1])
        tags = (agreement.initiator_tag, agreement.responder_tag)
        assert theirs.isk == agreement.key
        assert theirs.tag() == tags[is_first]
        assert theirs.verify(tags[not is_first])


@pytest.mark.parametrize("changed", ["words", "channel", "session", "data"])
def test_whatever_differs_gives_another_key(changed):
    ours = side(Role.INITIATOR, SECRET_A)
    other = {"data": (b"ADa", b"ADc")} if changed == "data" else {changed: b"another"}
    theirs = side(Role.RESPONDER, SECRET_B, **other)
    first, second = ours.agree(theirs.share), theirs.agree(ours.share)
    assert first.key != second.key
    assert not is_tag(first.initiator_tag, second.initiator_tag)
    assert not is_tag(first.responder_tag, second.responder_tag)


def test_lengths_are_in_front_of_every_part():
    assert length_value(b"ab", b"c") != length_value(b"a", b"bc")
    assert length_value(b"x" * 128)[:2] == b"\x80\x01"
    assert length_value(b"") == b"\0"


def test_nothing_secret_is_shown():
    ours = side(Role.INITIATOR, SECRET_A)
    agreement = ours.agree(bytes.fromhex(SHARE_B))
    assert repr(ours) == "<CPace initiator>"
    assert repr(agreement) == "<Agreement>"
