"""Recipes of single cells, and recipes that several languages share."""

from dataclasses import replace

from fwplab.mixers.delta_net import DeltaNet
from fwplab.mixers.split_delta_net import SplitDeltaNet
from fwplab.model.model import ModelSpec
from fwplab.recipes.history import History
from fwplab.recipes.recipe import Recipe, recipe, recipe_of, recipes, shared_recipes
from fwplab.studies.counting import LANGUAGES as COUNTER_LANGUAGES
from fwplab.tables.rows import cell_of, model_name
from fwplab.training.run import Run


def test_a_cell_has_its_own_recipe_first_and_then_the_shared_ones() -> None:
    own, *shared = recipes("reset_dyck_1", "delta-net")
    assert own == recipe("reset_dyck_1", "delta-net")
    assert own.start == ""
    assert tuple(shared) == shared_recipes("reset_dyck_1", "delta-net")
    assert {each.start for each in shared} == {"weak writes", "parted gates"}
    assert recipes("parity", "split-delta-net") == ()


def test_a_shared_recipe_is_equal_for_all_languages_except_their_name() -> None:
    found = [recipe(language, "split-delta-net") for language in COUNTER_LANGUAGES]
    assert [each.language for each in found] == list(COUNTER_LANGUAGES)
    assert len({replace(each, language="parity") for each in found}) == 1


def test_a_run_is_named_after_its_starting_weights_for_any_learning_rate() -> None:
    for each in recipes("dyck_1", "recurrent-delta"):
        run = each.run((3, 4))
        assert recipe_of(run) == each
        named = f"recurrent-delta, {each.start}" if each.start else "recurrent-delta"
        assert (model_name(run), cell_of(run)) == (named, ("dyck_1", named))
        other = replace(run, learning_rates=(0.123,))
        assert recipe_of(other) is None
        assert model_name(other) == named
    folded = Run("dyck_1", DeltaNet(), model=ModelSpec(layers=1), trained_as=SplitDeltaNet())
    assert model_name(folded) == "delta-net, trained as split-delta-net"


def test_the_recipe_of_a_run_gives_the_same_run() -> None:
    for each in recipes("reset_dyck_1", "delta-net"):
        run = each.run((0,))
        assert Recipe.of(run, History()).run((0,)) == run
