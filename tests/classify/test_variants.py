import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppl.classify import variants as grids
from ppl.classify.variants import MAX_K, METHODS, PLAIN, STAGES, Grid
from ppl.jobs.errors import UserError

patching = st.sampled_from([method for method in METHODS if method != "baseline"])
sequences = st.dictionaries(st.sampled_from(STAGES), st.integers(2, MAX_K), min_size=1).map(
    lambda ks: tuple(Grid(stage, ks[stage]) for stage in sorted(ks))
)

IMPOSSIBLE = ["", "-", "s4k6-", "-s4k6", "s1k2", "s5k2", "s4k1", "s4k0", f"s4k{MAX_K + 1}", "s4", "k4", "4k4", "S4K4"]
IMPOSSIBLE += ["s4k", "s4k06", "s04k6", "s4k6 ", "s4k6\n", "s4k-6", "s4k6-s3k4", "s4k6-s4k6", "s4k4-s4k6", "s2k2_s3k4"]
IMPOSSIBLE += ["s2k2--s3k4", "s٢k٢", "plain-s4k6", "s4k6-plain", PLAIN]


@given(patching, sequences)
def test_a_name_and_its_grids_are_each_others_inverse(method: str, sequence: tuple[Grid, ...]) -> None:
    assert grids.parse(method, grids.name(sequence)) == sequence


def test_names_by_hand() -> None:
    assert grids.parse("implicit", "s2k2-s3k4-s4k6") == ((2, 2), (3, 4), (4, 6))
    assert grids.parse("baseline", PLAIN) == ()
    assert grids.name(()) == PLAIN


@pytest.mark.parametrize("name", IMPOSSIBLE)
@pytest.mark.parametrize("method", [method for method in METHODS if method != "baseline"])
def test_names_that_cannot_exist_are_refused(method: str, name: str) -> None:
    with pytest.raises(UserError, match=f"^{method}/") as refused:
        grids.parse(method, name)
    assert not name or name.strip() in str(refused.value)


@given(patching, st.text("sk-0123456789plain٢ ", max_size=12))
def test_what_is_accepted_is_the_one_name_of_its_grids(method: str, name: str) -> None:
    try:
        parsed = grids.parse(method, name)
    except UserError:
        return
    assert grids.name(parsed) == name


@pytest.mark.parametrize(("method", "name"), [("baseline", "s4k6"), ("baseline", ""), ("magic", "s4k6"), ("", PLAIN)])
def test_other_methods_are_refused(method: str, name: str) -> None:
    for function in (grids.parse, grids.start, grids.branches):
        with pytest.raises(UserError):
            function(method, name)


@given(patching, sequences)
def test_every_chain_of_starts_ends_at_imagenet_weights(method: str, sequence: tuple[Grid, ...]) -> None:
    variant, chain = (method, grids.name(sequence)), []
    while variant is not None:
        chain.append(variant)
        variant = grids.start(*variant)
    if method == "implicit":  # the steps of Algorithm 1 backwards
        assert chain == [("implicit", grids.name(sequence[:n])) for n in range(len(sequence), 0, -1)]
    else:
        assert chain == [(method, grids.name(sequence)), ("baseline", PLAIN)]


def test_variants_share_their_common_prefix() -> None:
    names = ("s2k2-s3k4-s4k6", "s2k2-s3k4-s4k8", "s2k2-s3k4")
    assert {grids.start("implicit", name) for name in names[:2]} == {("implicit", names[2])}
    assert grids.start("implicit", names[2]) == ("implicit", "s2k2")
    assert grids.start("implicit", "s4k6") is None
    assert grids.start("baseline", PLAIN) is None


@given(sequences)
def test_branches_of_a_variant(sequence: tuple[Grid, ...]) -> None:
    name = grids.name(sequence)
    assert grids.branches("implicit", name) == (sequence[-1:], True)
    assert grids.branches("explicit", name) == (sequence, True)
    assert grids.branches("local", name) == (sequence, False)
    assert grids.branches("baseline", PLAIN) == ((), True)
