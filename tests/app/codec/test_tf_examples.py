"""Rows of JSON and of tables that become tf.Examples, in the types that the graph asks for."""

import json
from typing import Any

import pytest

from app.codec.slow_path import Misfit
from app.codec.tf_examples import example_of
from app.config.job_spec import InstanceFields
from app.errors import UnsupportedInput
from app.formats.context import ReaderContext
from app.formats.csv import CsvReader
from app.formats.jsonl import JsonLinesReader
from app.job.row_errors import RowErrors
from tests.app.formats.test_formats import STRING, read
from tfserving_launcher import Signature
from tfserving_launcher.parse_spec import FeatureTypes
from tfserving_launcher.protos import Example

TYPES: FeatureTypes = {"miles": "float", "area": "int64", "company": "bytes"}

PREDICT = Signature("s", "tensorflow/serving/predict", {"examples": STRING}, {})
CLASSIFY = Signature("s", "tensorflow/serving/classify", {"inputs": STRING}, {})


def features_of(serialized: bytes) -> dict[str, tuple[str, list[Any]]]:
    features = Example.FromString(serialized).features.feature
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    return {
        name: (kind.removesuffix("_list"), list(getattr(features[name], kind).value))
        for name, kind in kinds.items()
    }


def opening(
    faults: RowErrors,
    signature: Signature,
    types: FeatureTypes | None,
    fields: InstanceFields | None = None,
) -> ReaderContext:
    return ReaderContext(
        file="f",
        signature=signature,
        fields=fields or InstanceFields(),
        on_row_error=faults,
        max_line_bytes=1000,
        parse_spec=lambda: types,
    )


def rows_of(
    text: bytes,
    signature: Signature = PREDICT,
    types: FeatureTypes | None = TYPES,
    fields: InstanceFields | None = None,
    *,
    rows: int = 100,
) -> tuple[list[Any], list[tuple[bytes, ...]], list[tuple[int, str]]]:
    """The features of each good row, or its bytes; what is beside them; and the bad rows."""

    def reader(faults: RowErrors) -> CsvReader | JsonLinesReader:
        given = opening(faults, signature, types, fields)
        if text.lstrip().startswith((b"{", b'"', b"[")):
            return JsonLinesReader(given)
        return CsvReader(given, instance_as_columns=False)

    tensors, beside, errors = read(text, reader, rows=rows)
    (name,) = signature.inputs
    numbers = [error["row"] if "row" in error else error["line"] for error in errors]
    messages = [error["error"]["message"] for error in errors]
    return tensors.get(name, []), beside, list(zip(numbers, messages, strict=True))


@pytest.mark.parametrize(
    ("value", "feature"),
    [
        ({"area": 8}, ("int64", [8])),
        ({"area": 8.0}, ("int64", [8])),
        ({"area": True}, ("int64", [1])),
        ({"area": -(2**63)}, ("int64", [-(2**63)])),
        ({"area": [8, 9.0]}, ("int64", [8, 9])),
        ({"miles": 8}, ("float", [8.0])),
        ({"miles": [8, 0.5]}, ("float", [8.0, 0.5])),
        ({"company": "8"}, ("bytes", [b"8"])),
        ({"company": {"b64": "AP8="}}, ("bytes", [b"\x00\xff"])),
        ({"other": 8}, ("int64", [8])),
        ({"other": 8.0}, ("float", [8.0])),
    ],
)
def test_number_has_type_that_graph_asks_for(
    value: dict[str, Any], feature: tuple[str, list[Any]]
) -> None:
    """A number goes as the type that the graph asks for."""
    assert list(features_of(example_of(value, TYPES)).values()) == [feature]


@pytest.mark.parametrize("name", ["area", "miles", "company", "other"])
@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_value_is_a_feature_left_out(name: str, missing: object) -> None:
    for types in (TYPES, {}, None):
        assert features_of(example_of({name: missing, "k": "v"}, types)) == {"k": ("bytes", [b"v"])}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"area": 8.5}, "expected an integer (int64), found 8.5"),
        ({"area": "8"}, 'expected an integer (int64), found "8"'),
        ({"area": 2**63}, "expected an integer of 64 bits"),
        ({"area": 1e17}, "expected an integer (int64), found 1e+17"),
        ({"area": float("inf")}, "expected an integer (int64), found Infinity"),
        ({"area": [1, None]}, "expected an integer (int64), found null"),
        ({"miles": True}, "expected a number (float), found true"),
        ({"miles": "far"}, 'expected a number (float), found "far"'),
        ({"company": 8}, 'expected a string or {"b64": "..."}, found 8'),
        ({"other": [1, 2.5]}, "expected values of one kind"),
        ({"other": [None]}, "expected a string, a number or a boolean, found null"),
    ],
)
def test_unasked_feature_is_named(value: dict[str, Any], words: str) -> None:
    """A value that the graph does not ask for is told with its field."""
    with pytest.raises(Misfit) as caught:
        example_of(value, TYPES)
    assert words in str(caught.value)
    assert caught.value.field == next(iter(value))


PANDAS = (
    b",miles,area,company,note\n"
    b"0,1.5,8.0,Flash Cab,a\n"
    b"1,2,,,b\n"
    b'2,,9,"Taxi, ""Inc""",99999999999999999999\n'
    b"3,nan,10.0,5,\n"
)


@pytest.mark.parametrize("rows", [1, 100])
@pytest.mark.parametrize("signature", [PREDICT, CLASSIFY])
def test_pandas_row_is_an_example(signature: Signature, rows: int) -> None:
    """A row of a table as pandas writes it is an example."""
    found, _, errors = rows_of(PANDAS, signature, rows=rows)
    assert errors == []
    assert [features_of(one) for one in found] == [
        {
            "Unnamed: 0": ("int64", [0]),
            "miles": ("float", [1.5]),
            "area": ("int64", [8]),
            "company": ("bytes", [b"Flash Cab"]),
            "note": ("bytes", [b"a"]),
        },
        {
            "Unnamed: 0": ("int64", [1]),
            "miles": ("float", [2.0]),
            "note": ("bytes", [b"b"]),
        },
        {
            "Unnamed: 0": ("int64", [2]),
            "area": ("int64", [9]),
            "company": ("bytes", [b'Taxi, "Inc"']),
            "note": ("bytes", [b"99999999999999999999"]),
        },
        {
            "Unnamed: 0": ("int64", [3]),
            "area": ("int64", [10]),
            "company": ("bytes", [b"5"]),
        },
    ]


@pytest.mark.parametrize("rows", [1, 100])
def test_bad_feature_cells_leave_others(rows: int) -> None:
    """Bad cells of features are told and the others go on."""
    text = b'miles,area\n1,8.5\n2,x\n3,3\n4,"[4, 5]"\n5,"[4, "\n"True",6\n7,True\n8\n9,8\xff\n'
    found, _, errors = rows_of(text, rows=rows)
    assert [features_of(one)["area"][1] for one in found] == [[3], [4, 5], [1]]
    assert [number for number, _ in errors] == [1, 2, 5, 6, 8, 9]
    assert errors[0][1] == "field area: expected an integer (int64), found 8.5"
    assert errors[1][1] == 'field area: expected an integer (int64), found "x"'
    assert errors[2][1].startswith("field area: expected a number or a JSON list of such")
    assert errors[3][1] == "field miles: expected a number (float), found true"


def test_fields_of_a_table_are_chosen_among_its_features() -> None:
    fields = InstanceFields(key="company", excluded=("",), include_instance=True)
    found, beside, _ = rows_of(PANDAS, fields=fields)
    assert set(features_of(found[2])) == {"area", "note"}
    assert [key for key, _ in beside] == [b'"Flash Cab"', b'""', b'"Taxi, \\"Inc\\""', b'"5"']
    instances = [json.loads(instance) for _, instance in beside]
    assert instances[1]["area"] is None
    assert [instance["miles"] for instance in instances] == [1.5, 2, None, None]
    # What comes back is an instance again, with the same features.
    again = b"".join(instance + b"\n" for _, instance in beside)
    assert len(rows_of(again)[0]) == 4


def test_without_a_parse_spec_cells_tell_their_types() -> None:
    found, _, _ = rows_of(b"a,b,c,d\n1,1.0,x,\n", CLASSIFY, None)
    assert features_of(found[0]) == {
        "a": ("int64", [1]),
        "b": ("float", [1.0]),
        "c": ("bytes", [b"x"]),
    }


def test_a_table_without_any_of_the_features_is_refused() -> None:
    """Every feature may be optional, and then a wrong table would be predicted."""
    for signature in (PREDICT, CLASSIFY):
        with pytest.raises(UnsupportedInput, match="no column is a feature that the model parses"):
            rows_of(b"Miles,Area\n1,2\n", signature)


def test_a_column_of_the_inputs_own_name_holds_strings() -> None:
    assert rows_of(b"examples\nmiles\n")[0] == [b"miles"]
    with pytest.raises(UnsupportedInput, match="the signature has no input miles, only examples"):
        rows_of(b"examples,miles\na,1\n")


def test_table_for_parseless_graph_needs_input() -> None:
    """A table for a graph that parses nothing needs the input."""
    with pytest.raises(UnsupportedInput, match="no column for the input examples"):
        rows_of(b"miles\n1\n", PREDICT, None)


@pytest.mark.parametrize("rows", [1, 100])
def test_strings_and_features_mix_in_one_file(rows: int) -> None:
    """Strings and objects of features stand in one file."""
    text = b"""{"miles": 8, "area": 8.0, "company": null, "note": [1, 2]}
"as it is"
{"b64": "AP8="}
{"examples": "by name"}
{"examples": {"b64": "AP8="}}
{"area": NaN, "miles": 2}
{"miles": 8, "area": 8.5}
{"milse": 8}
{"examples": "a", "miles": 8}
[1]
"""
    found, _, errors = rows_of(text, rows=rows)
    assert features_of(found[0]) == {
        "miles": ("float", [8.0]),
        "area": ("int64", [8]),
        "note": ("int64", [1, 2]),
    }
    assert found[1:5] == [b"as it is", b"\x00\xff", b"by name", b"\x00\xff"]
    assert features_of(found[5]) == {"miles": ("float", [2.0])}
    assert [number for number, _ in errors] == [7, 8, 9, 10]
    assert errors[0][1] == "field area: expected an integer (int64), found 8.5"
    assert "features that the model parses, which are miles, area, company" in errors[1][1]
    assert "found milse" in errors[1][1]
    assert errors[2][1].startswith("field miles: the signature has no such input")


def test_feature_named_like_input_hides_none() -> None:
    """A feature of the inputs name does not hide the others."""
    types: FeatureTypes = {"examples": "float", "miles": "float"}
    found, _, _ = rows_of(b'{"examples": 1, "miles": 2}\n{"examples": "x"}\n', PREDICT, types)
    assert features_of(found[0]) == {"examples": ("float", [1.0]), "miles": ("float", [2.0])}
    assert found[1] == b"x"


def test_objects_are_refused_where_the_graph_parses_none() -> None:
    _, _, errors = rows_of(b'{"miles": 8}\n', PREDICT, None)
    assert errors == [(1, "field examples: missing; expected the fields examples, found miles")]


def test_a_key_beside_features_is_no_feature() -> None:
    found, beside, _ = rows_of(b'{"id": 7, "miles": 8}\n', fields=InstanceFields(key="id"))
    assert (features_of(found[0]), beside) == ({"miles": ("float", [8.0])}, [(b"7",)])


def test_the_model_is_read_only_where_rows_need_it() -> None:
    def never() -> FeatureTypes | None:
        raise AssertionError("the model's file is read")

    def reader(faults: RowErrors) -> JsonLinesReader:
        given = ReaderContext(
            file="f",
            signature=PREDICT,
            fields=InstanceFields(),
            on_row_error=faults,
            max_line_bytes=1000,
            parse_spec=never,
        )
        return JsonLinesReader(given)

    text = b'"a"\n{"b64": "AP8="}\n{"examples": "b"}\n7\n'
    tensors, _, errors = read(text, reader)
    assert tensors == {"examples": [b"a", b"\x00\xff", b"b"]}
    assert [error["line"] for error in errors] == [4]
