from tcf.common.errors import did_you_mean


def test_only_the_nearest_name_is_suggested_and_only_where_one_is_near() -> None:
    known = ("max_tokens", "max_memory", "layers")
    assert did_you_mean("max_token", known) == "; did you mean max_tokens?"
    assert did_you_mean("layer", known) == "; did you mean layers?"
    assert did_you_mean("seed", known) == ""
    assert did_you_mean("layers", ()) == ""
