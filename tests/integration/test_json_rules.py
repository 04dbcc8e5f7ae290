"""Every rule between a JSON line and a tensor, with the real model server and TensorFlow."""

import json
from collections.abc import Sequence

import pytest

from app.codec.instances import InstanceEncoder
from app.codec.predictions import encode_predictions
from app.codec.signatures import check_inputs, check_outputs, fixed_batch_size
from app.errors import InvalidInstance, InvalidModel
from app.framing.lines import as_lines
from tests.fakes.dtypes import DTYPES
from tests.fakes.groups import tensors_of
from tests.fakes.row_errors import raising
from tfserving_launcher import ModelServer

FLOATS = ("bfloat16", "float16", "float32", "float64")
INTEGERS = ("int16", "int32", "int64", "int8", "uint16", "uint32", "uint64", "uint8")
FLOAT32_MAX = 3.4028234663852886e38


def predict(server: ModelServer, signature_name: str, *lines: str) -> list[str]:
    """What the lines of one file become, by the very steps of a job."""
    signature = server.signature(signature_name)
    encoder = InstanceEncoder(signature, raising("in.jsonl"))
    groups = encoder.encode(as_lines(1, "".join(line + "\n" for line in lines).encode()))
    outputs = server.predict(tensors_of(groups), signature_name=signature_name)
    predicted = encode_predictions(outputs, len(lines), rows_sent=len(lines))
    return predicted.decode().splitlines()


def refusal(server: ModelServer, signature_name: str, *lines: str) -> str:
    with pytest.raises(InvalidInstance) as caught:
        predict(server, signature_name, *lines)
    assert caught.value.code == 422
    return caught.value.message


# What a line is


def test_bare_value_is_the_one_input(zoo: ModelServer) -> None:
    """A bare value is the instance of a signature with one input."""
    assert predict(zoo, "serving_default", "[1, 2, 3.5]") == ["[3.0,5.0,8.0]"]


def test_the_same_as_an_object_with_the_inputs_name(zoo: ModelServer) -> None:
    lines = ['{"x": [1, 2, 3]}', "[1, 2, 3]", '{"x":[0,0,0]}']
    assert predict(zoo, "serving_default", *lines) == ["[3.0,5.0,7.0]"] * 2 + ["[1.0,1.0,1.0]"]


def test_several_inputs_and_outputs_are_objects(zoo: ModelServer) -> None:
    """Several inputs are an object and several outputs too."""
    line = '{"name": "tea", "price": 2.5, "sold": true, "count": 3}'
    assert (
        predict(zoo, "named", line, line)
        == ['{"both":[2.5,2.5],"label":"tea:3","sold%":true,"total":7.5}'] * 2
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[1, 2]", "expected an object with the fields count, name, price, sold, found a list"),
        ('{"price": 1, "count": 1, "name": ""}', "field sold: missing; expected the fields"),
        (
            '{"price": 1, "count": 1, "name": "", "sold": true, "size": 1}',
            "field size: the signature has no such input",
        ),
        ("null", "found null"),
    ],
)
def test_fields_must_be_exactly_the_inputs(line: str, words: str, zoo: ModelServer) -> None:
    good = '{"name": "tea", "price": 2.5, "sold": true, "count": 3}'
    message = refusal(zoo, "named", good, line)
    assert message.startswith("in.jsonl, line 2")
    assert words in message


@pytest.mark.parametrize("line", ["[1, 2", "[1,2,3]]", "[1,2,3] 4", "{'x': 1}", "[1,2,3,]", "x"])
def test_broken_json_is_named_with_its_place(line: str, zoo: ModelServer) -> None:
    message = refusal(zoo, "serving_default", "[1,2,3]", line, "[1,2,3]")
    assert message.startswith("in.jsonl, line 2: invalid JSON at character ")


def test_lines_json_only_together_are_refused(zoo: ModelServer) -> None:
    """Lines that would be JSON only together are refused."""
    assert "line 1" in refusal(zoo, "matrix", "[[1,2,3]", "[4,5,6]]")


# Numbers


@pytest.mark.parametrize("dtype", FLOATS)
def test_integers_become_floats_where_the_input_is_float(dtype: str, zoo: ModelServer) -> None:
    assert predict(zoo, f"scalar_{dtype}", "1", "-2.5") == ["1.0", "-2.5"]
    assert predict(zoo, f"vector_{dtype}", "[1, 2]") == ["[1.0,2.0]"]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("line", ["1.0", "1e3", "true", '"1"', "null", "NaN"])
def test_nothing_but_integers_becomes_an_integer(dtype: str, line: str, zoo: ModelServer) -> None:
    message = refusal(zoo, f"scalar_{dtype}", "1", line)
    assert message.startswith(f"in.jsonl, line 2, field x: expected an integer ({dtype}), found ")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("line", ["true", '"1.5"', "null", "[1]", '{"b64": "AA=="}'])
def test_nothing_but_numbers_becomes_a_float(dtype: str, line: str, zoo: ModelServer) -> None:
    message = refusal(zoo, f"scalar_{dtype}", "1.5", line)
    assert message.startswith(f"in.jsonl, line 2, field x: expected a number ({dtype}), found ")


def test_a_boolean_among_numbers_is_found_where_it_is(zoo: ModelServer) -> None:
    message = refusal(zoo, "serving_default", "[1,2,3]", "[1,true,3]")
    assert message == "in.jsonl, line 2, field x[1]: expected a number (float32), found true"
    assert "field x: expected a number" in refusal(zoo, "scalar_float32", "1", "false", "2")
    line = '{"name": "true", "price": true, "sold": true, "count": 3}'
    assert "field price: expected a number (float32), found true" in refusal(zoo, "named", line)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_keep_every_digit(dtype: str, zoo: ModelServer) -> None:
    """Integers keep every digit up to the ends of their range."""
    bits = int(dtype.lstrip("uint"))
    smallest = 0 if dtype.startswith("u") else -(2 ** (bits - 1))
    largest = smallest + 2**bits - 1
    lines = [str(smallest), str(largest)]
    assert predict(zoo, f"scalar_{dtype}", *lines) == lines
    beyond = refusal(zoo, f"scalar_{dtype}", str(largest + 1))
    assert str(largest) in beyond or "expected an integer" in beyond


def test_a_64_bit_integer_in_a_vector_keeps_every_digit(zoo: ModelServer) -> None:
    line = "[9007199254740993,-9223372036854775808]"
    assert predict(zoo, "vector_int64", line) == [line]
    assert predict(zoo, "vector_uint64", "[1,18446744073709551615]") == ["[1,18446744073709551615]"]


def test_doubles_arrive_to_the_last_bit(zoo: ModelServer) -> None:
    lines = ["0.1", "1.7976931348623157e+308", "5e-324", "-0.0", "2.2250738585072014e-308"]
    assert [json.loads(line) for line in predict(zoo, "scalar_float64", *lines)] == [
        json.loads(line) for line in lines
    ]


def test_float32_prints_its_shortest_form(zoo: ModelServer) -> None:
    assert predict(zoo, "scalar_float32", "0.1", "16777217", "1e-7") == [
        "0.1",
        "16777216.0",
        "1e-7",
    ]


def test_a_number_beyond_float32_becomes_infinite(zoo: ModelServer) -> None:
    lines = predict(zoo, "vector_float32", f"[1e39,{FLOAT32_MAX}]", "[-1e39,1e-60]")
    assert lines == ['["Infinity",3.4028235e+38]', '["-Infinity",0.0]']


def test_a_number_beyond_a_double_is_refused(zoo: ModelServer) -> None:
    assert "invalid JSON" in refusal(zoo, "scalar_float64", "1e400")


def test_nan_and_infinity_round_trip(zoo: ModelServer) -> None:
    """Nan and infinity are read as bare tokens and written as strings."""
    lines = ["[NaN,1]", "[-Infinity,Infinity]", "[-Inf,Inf]", "[2,-NaN]"]
    assert predict(zoo, "vector_float32", *lines) == [
        '["NaN",1.0]',
        '["-Infinity","Infinity"]',
        '["-Infinity","Infinity"]',
        '[2.0,"NaN"]',
    ]


def test_nan_that_the_model_makes_is_written_as_a_string(zoo: ModelServer) -> None:
    assert predict(zoo, "logarithm", "[1,0]", "[-1,1]") == ['[0.0,"-Infinity"]', '["NaN",0.0]']


# Booleans


def test_booleans_are_true_and_false(zoo: ModelServer) -> None:
    assert predict(zoo, "scalar_bool", "true", "false") == ["true", "false"]


@pytest.mark.parametrize("line", ["0", "1", '"true"', "null"])
def test_nothing_else_is_a_boolean(line: str, zoo: ModelServer) -> None:
    assert "expected true or false, found" in refusal(zoo, "scalar_bool", "true", line)


# Strings and bytes


def test_strings_keep_every_character(zoo: ModelServer) -> None:
    lines = ['"é\\u0000\\n\\"\\\\"', '""', '"\\ud83d\\ude00"']
    assert [json.loads(line) for line in predict(zoo, "scalar_string", *lines)] == [
        json.loads(line) for line in lines
    ]


def test_b64_is_bytes_both_ways(zoo: ModelServer) -> None:
    """B64 is bytes and names that end in bytes are b64."""
    lines = ['{"b64": "/wD+"}', '"abc"', '{"data": {"b64": "YWI="}}']
    assert predict(zoo, "only_bytes", *lines) == [
        '{"b64":"/wD+"}',
        '{"b64":"YWJj"}',
        '{"b64":"YWI="}',
    ]


def test_bytes_and_text_of_one_output_signature(zoo: ModelServer) -> None:
    line = '{"data": {"b64": "YWJj"}}'
    assert predict(zoo, "image", line) == ['{"raw":"abc","raw_bytes":{"b64":"YWJj"},"size":3}']


def test_padding_of_base64_may_be_left_off(zoo: ModelServer) -> None:
    assert predict(zoo, "scalar_string", '{"b64": "YQ"}') == ['"a"']


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"b64": "_-8="}', "not base64 of the standard alphabet"),
        ('{"b64": "abcde"}', "not base64"),
        ('{"b64": 7}', "expected a string or"),
        ('{"b64": "YQ==", "x": 1}', "no such input"),
        ("7", "expected a string or"),
        ("null", "expected a string or"),
        ("true", "expected a string or"),
    ],
)
def test_nothing_else_is_a_string(line: str, words: str, zoo: ModelServer) -> None:
    message = refusal(zoo, "scalar_string", '"a"', line)
    assert "line 2" in message
    assert words in message or "missing" in message


def test_not_utf8_is_an_error_about_bytes(zoo: ModelServer) -> None:
    """Text that is not UTF-8 is an error that tells of bytes."""
    with pytest.raises(InvalidModel, match="output raw is not UTF-8.*export it as raw_bytes"):
        predict(zoo, "not_text", '"fine"', '{"b64": "/w=="}')


def test_strings_may_be_nested(zoo: ModelServer) -> None:
    line = '[["a","b"],["c",{"b64":"ZA=="}]]'
    assert predict(zoo, "string_matrix", line) == ['[["a","b"],["c","d"]]']


# Shapes


def test_rows_of_higher_rank_keep_their_shape(zoo: ModelServer) -> None:
    line = "[[1.0,2.0,3.0],[4.0,5.0,6.0]]"
    assert predict(zoo, "matrix", line, line) == [line, line]


@pytest.mark.parametrize(
    ("signature", "line", "words"),
    [
        ("serving_default", "[1,2]", "field x: expected the shape [3], found [2]"),
        ("serving_default", "[]", "expected the shape [3], found [0]"),
        ("serving_default", "1", "expected a list, found 1"),
        ("serving_default", "[[1,2,3]]", "field x[0]: expected a number (float32), found a list"),
        ("matrix", "[[1,2,3],[4,5]]", "field x[1]: expected the shape of its neighbours, [3]"),
        ("matrix", "[[1,2,3]]", "expected the shape [2, 3], found [1, 3]"),
        ("matrix", "[[1,2,3],4]", "field x[1]: expected a list, found 4"),
        ("scalar_float32", "[1]", "expected a number (float32), found a list of 1"),
        ("any_length", "[[1],[2]]", "expected a number (float32), found a list of 1"),
        ("string_matrix", '[["a"],["b"]]', "expected the shape [2, 2], found [2, 1]"),
    ],
)
def test_a_shape_that_does_not_fit_is_named(
    signature: str, line: str, words: str, zoo: ModelServer
) -> None:
    first = {
        "serving_default": "[1,2,3]",
        "matrix": "[[1,2,3],[4,5,6]]",
        "scalar_float32": "1",
        "any_length": "[1,2]",
        "string_matrix": '[["a","b"],["c","d"]]',
    }[signature]
    message = refusal(zoo, signature, first, line)
    assert message.startswith("in.jsonl, line 2")
    assert words in message


@pytest.mark.parametrize("line", ["1.5", "[1.0,2.0]", "[[[1.0]],[[2.0]]]", "[]"])
def test_an_input_of_any_rank_takes_any_shape(line: str, zoo: ModelServer) -> None:
    assert predict(zoo, "any_rank", line, line) == [line, line]


def test_rows_without_values_keep_their_shape(zoo: ModelServer) -> None:
    assert predict(zoo, "any_length", "[]", "[]") == ["[]", "[]"]
    assert predict(zoo, "empty_rows", "[[1,2,3],[4,5,6]]") == ["[]"]


# Outputs


def test_every_dtype_goes_in_and_comes_out(zoo: ModelServer) -> None:
    values = {"bool": "true", "string": '"a"'}
    for dtype in DTYPES:
        value = values.get(dtype, "7.0" if dtype in FLOATS else "7")
        assert predict(zoo, f"scalar_{dtype}", value) == [value]
        assert predict(zoo, f"vector_{dtype}", f"[{value},{value}]") == [f"[{value},{value}]"]


@pytest.mark.parametrize("signature", ["total", "one_short"])
def test_outputs_must_have_a_row_for_each_instance(signature: str, zoo: ModelServer) -> None:
    with pytest.raises(InvalidModel, match="output y has the shape .* for 3 rows"):
        predict(zoo, signature, "1", "2", "3")


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        ("no_batch", "no batch dimension"),
        ("complex", "complex numbers have no JSON form"),
        ("total", "no batch dimension"),
    ],
)
def test_uncallable_signatures_are_refused(signature: str, words: str, zoo: ModelServer) -> None:
    """Signatures that cannot be called with lines are refused."""

    def check(names: Sequence[str]) -> None:
        for name in names:
            check_inputs(zoo.signature(name))
            check_outputs(zoo.signature(name))
            fixed_batch_size(zoo.signature(name))

    check(["serving_default", "named", "any_rank"])
    with pytest.raises(InvalidModel, match=words):
        check([signature])


def test_a_fixed_batch_size_is_read_from_the_signature(zoo: ModelServer) -> None:
    assert fixed_batch_size(zoo.signature("fixed")) == 4
    assert fixed_batch_size(zoo.signature("serving_default")) is None
