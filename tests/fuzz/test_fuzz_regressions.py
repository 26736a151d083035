"""Every fuzz target holds for its corpus, for the inputs that once broke it, and for large ones."""

import random

import pytest
from fuzzing import (
    CORPUS,
    FOLDER,
    MAX_INPUT,
    VECTORS,
    Broken,
    Target,
    check_cost,
    inputs,
    load,
    names,
)
from mutation import Mutator

MUTATIONS = 25
LARGE = 4096


@pytest.mark.parametrize("name", names())
def test_a_target_holds_for_its_corpus(name: str) -> None:
    target = load(name)
    known = inputs(CORPUS, name)

    assert known
    for path in known:
        target.run(path.read_bytes())


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=f"{n}-{p.name}") for n in names() for p in inputs(VECTORS, n)]
)
def test_what_once_broke_a_target_breaks_it_no_more(path) -> None:
    target = load(path.parent.name)

    data = path.read_bytes()
    target.run(data)
    if len(data) >= LARGE:  # what broke by its cost
        check_cost(target, data)


@pytest.mark.parametrize("name", names())
def test_the_largest_inputs_cost_a_bounded_time_and_memory(name: str) -> None:
    target = load(name)
    seeds = [path.read_bytes() for path in inputs(CORPUS, name)]

    for seed in [*seeds[:4], bytes((0,)), bytes((1,)), bytes((127,))]:
        repeated = (seed * (MAX_INPUT // max(1, len(seed)) + 1))[:MAX_INPUT]
        check_cost(target, repeated)


@pytest.mark.parametrize("name", names())
def test_a_target_holds_for_a_few_mutations(name: str) -> None:
    target, rng = load(name), random.Random(7)
    mutator = Mutator(rng, target.words, 2048)
    seeds = [path.read_bytes() for path in inputs(CORPUS, name)]

    for _ in range(MUTATIONS):
        target.run(mutator.mutate(rng.choice(seeds), rng.choice(seeds)))


@pytest.mark.parametrize("name", names())
def test_the_corpus_is_what_the_encoders_make_today(name: str) -> None:
    made = list(load(name).seeds())

    kept = [path.read_bytes() for path in inputs(CORPUS, name) if path.name.startswith("seed-")]
    assert kept == made


def test_every_target_states_its_invariant_on_line_1() -> None:
    for name in names():
        first = (FOLDER / "targets" / f"{name}.py").read_text().partition("\n")[0]
        assert first.startswith("# Invariant: ")
        assert first.endswith(".")


def test_an_input_that_costs_too_much_is_noticed() -> None:
    def burn(data: bytes) -> None:
        sum(range(3_000_000))

    def hoard(data: bytes) -> bytes:
        return bytes(1 << 20)

    slow = Target("slow", "", burn, lambda: iter(()), burn, 0.001, 1 << 20, ())
    with pytest.raises(Broken, match="processor time"):
        check_cost(slow, b"")
    large = Target("large", "", hoard, lambda: iter(()), hoard, 1.0, 1 << 16, ())
    with pytest.raises(Broken, match="memory"):
        check_cost(large, b"")
