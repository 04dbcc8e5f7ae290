"""What a table's header means: names, places, and what is told where it does not fit."""

import numpy as np
import pytest

from app.codec.json_values import quoted_names
from app.config.job_spec import InstanceFields
from app.errors import UnsupportedInput
from tests.app.formats.test_formats import FLOAT, STRING, csv_reader, read
from tfserving_launcher import TensorSpec

THREE = TensorSpec(np.dtype(np.float32), (None, 3))
IMAGE = TensorSpec(np.dtype(np.uint8), (None, 2, 3))


def refusal(text: bytes, fields: InstanceFields | None = None, /, **inputs: TensorSpec) -> str:
    with pytest.raises(UnsupportedInput) as caught:
        read(text, lambda faults: csv_reader(faults, fields, **inputs))
    return caught.value.message


def values(text: bytes, fields: InstanceFields | None = None, /, **inputs: TensorSpec) -> object:
    tensors, _, errors = read(text, lambda faults: csv_reader(faults, fields, **inputs))
    assert errors == []
    return tensors["x"]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["age", "größe", "a-b_c.d"], "age, größe, a-b_c.d"),
        (["petal length", "a,b", 'a"b', ""], r'"petal length", "a,b", "a\"b", ""'),
        (["a\tb", "a\nb"], r'"a\tb", "a\nb"'),
        (["x" * 100], "x" * 80 + "..."),
        ([], "none"),
        (["n"] * 21, "n, " * 20 + "..."),
    ],
)
def test_names_are_shown_quoted_where_they_must_be(names: list[str], text: str) -> None:
    assert quoted_names(names) == text


@pytest.mark.parametrize("field", ["excluded", "included", "key"])
def test_a_field_that_no_column_has_is_refused(field: str) -> None:
    names: dict[str, InstanceFields] = {
        "excluded": InstanceFields(excluded=("k", "petal length")),
        "included": InstanceFields(included=("k", "petal length")),
        "key": InstanceFields(key="petal length"),
    }
    message = refusal(b"k,a b,c,d\n1,1,2,3\n", names[field], x=THREE)
    assert message == 'f: no column "petal length"; the header has k, "a b", c, d'


def test_a_name_with_a_blank_too_many_is_explained() -> None:
    fields = InstanceFields(excluded=(" k",))
    assert "; blanks are part of a name" in refusal(b"k,a,b,c\n1,1,2,3\n", fields, x=THREE)


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
@pytest.mark.parametrize("header", [b",a,b,c", b'"",a,b,c'])
def test_the_index_column_of_pandas_can_be_excluded(name: str, header: bytes) -> None:
    fields = InstanceFields(excluded=(name,))
    assert values(header + b"\n0,1,2,3\n1,4,5,6\n", fields, x=THREE) == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("name", ['""', "Unnamed: 0"])
def test_the_index_column_of_pandas_can_be_the_key(name: str) -> None:
    tensors, beside, _ = read(
        b",a,b,c\n7,1,2,3\n", lambda faults: csv_reader(faults, InstanceFields(key=name), x=THREE)
    )
    assert (tensors["x"], beside) == ([[1, 2, 3]], [(b'"7"',)])


def test_columns_without_a_name_can_be_the_only_ones() -> None:
    """The empty name stands for all of them, so a comma at each line's end does no harm."""
    assert values(b"a,,,\n9,1,2,3\n", InstanceFields(included=("",)), x=THREE) == [[1, 2, 3]]
    message = refusal(b"a,,,\n9,1,2,3\n", InstanceFields(key='""'), x=THREE)
    assert message.startswith("f: key_field names one column, and 3 have no name: column 2, which")


def test_given_name_wins_over_pandas_name() -> None:
    """A table that was read and written twice has both."""
    text = b",Unnamed: 0,a,b,c\n5,6,1,2,3\n"
    assert values(text, InstanceFields(excluded=("Unnamed: 0", "")), x=THREE) == [[1, 2, 3]]
    fields = InstanceFields(excluded=("Unnamed: 0",))
    message = refusal(text, fields, x=THREE)
    assert '1 too many: column 1, which has no name ("Unnamed: 0.1")' in message


def test_unnamed_column_is_named_by_position() -> None:
    """A column without a name is no input and named as such."""
    message = refusal(b",x\n0,1\n", x=FLOAT)
    assert message == (
        'f: the signature has no input column 1, which has no name ("Unnamed: 0"), only x;'
        " excluded_fields keeps a column from the model: excluded_fields=Unnamed: 0"
    )


@pytest.mark.parametrize(
    ("header", "fields", "words"),
    [
        (
            "a,b,c,id",
            InstanceFields(),
            (
                "the input x is float32[?, 3], which takes 3 columns, and the table has 4 for it,"
                " 1 too many: id; excluded_fields keeps a column from the model:"
                " excluded_fields=id, or included_fields names all that it sees"
            ),
        ),
        (
            ',a,b,c,"last, first"',
            InstanceFields(),
            (
                "has 5 for it, 2 of these are too many: column 1, which has no name"
                ' ("Unnamed: 0"), a, b, c, "last, first"; included_fields and excluded_fields say'
            ),
        ),
        (
            ',a,b,c,"id, first id"',
            InstanceFields(),
            (
                'has 5 for it, 2 too many: column 1, which has no name ("Unnamed: 0"),'
                ' "id, first id";'
                " excluded_fields keeps columns from the model: excluded_fields=Unnamed: 0,"
                '"id, first id", or included_fields'
            ),
        ),
        (
            "a,b",
            InstanceFields(),
            (
                "takes 3 columns, and the table has 2 for it, 1 is missing; included_fields and"
                " excluded_fields say"
            ),
        ),
        ("a,b,c", InstanceFields(key="a", excluded=("b",)), "has 1 for it, 2 are missing;"),
        ("a,b,c,d", InstanceFields(included=("d", "a")), "has 2 for it, 1 is missing;"),
    ],
)
def test_columns_too_many_or_too_few_are_told_in_numbers(
    header: str, fields: InstanceFields, words: str
) -> None:
    cells = ",".join(["1"] * (header.count(",") + 1 - header.count('"last, ')))
    assert words in refusal(f"{header}\n{cells}\n".encode(), fields, x=THREE)


@pytest.mark.parametrize(
    ("header", "order"),
    [
        ("p0,p1,p2,p3,p4,p5", [0, 1, 2, 3, 4, 5]),
        ("p1,p2,p3,p4,p5,p6", [0, 1, 2, 3, 4, 5]),
        ("p005,p004,p003,p002,p001,p000", [5, 4, 3, 2, 1, 0]),
        ("0,1,2,3,4,5", [0, 1, 2, 3, 4, 5]),
        ("x10_5,x10_6,x10_4,x10_3,x10_2,x10_1", [5, 4, 3, 2, 0, 1]),
        ('"p 0","p 1","p 2","p 3","p 4","p 5"', [0, 1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("cell", ["{}", " {}", '"{}"'])
def test_numbered_columns_fill_more_dimensions(header: str, order: list[int], cell: str) -> None:
    """In order of their numbers, whichever way the cells are read."""
    rows = [[10, 11, 12, 13, 14, 15], [20, 21, 22, 23, 24, 25]]
    lines = "".join(",".join(cell.format(one) for one in row) + "\n" for row in rows)
    expected = [np.array(row)[order].reshape(2, 3).tolist() for row in rows]
    assert values(f"{header}\n{lines}".encode(), x=IMAGE) == expected


def test_a_label_beside_the_places_is_excluded_or_a_key() -> None:
    text = b"label,p0,p1,p2,p3,p4,p5\n7,0,1,2,3,4,5\n"
    expected = [[[0, 1, 2], [3, 4, 5]]]
    assert values(text, InstanceFields(excluded=("label",)), x=IMAGE) == expected
    tensors, beside, _ = read(
        text, lambda faults: csv_reader(faults, InstanceFields(key="label"), x=IMAGE)
    )
    assert (tensors["x"], beside) == (expected, [(b'"7"',)])


@pytest.mark.parametrize("rows", [1, 4])
def test_bad_cells_of_places_are_told_with_their_columns(rows: int) -> None:
    text = b"p0,p1,p2,p3,p4,p5\n0,1,2,3,4,5\n0,1,2,3,4,256\n0,1,2,z,4,5\n0,1\n9,1,2,3,4,5\n"
    tensors, _, errors = read(text, lambda faults: csv_reader(faults, x=IMAGE), rows=rows)
    assert [row[0][0] for row in tensors["x"]] == [0, 9]
    assert [(error["row"], error["error"]["message"][:9]) for error in errors] == [
        (2, "field p5:"),
        (3, "field p3:"),
        (4, "expected "),
    ]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (
            "label,p0,p1,p2,p3,p4,p5",
            (
                "the input x is uint8[?, 2, 3], which takes 6 columns, and the table has 7 for it,"
                " 1 too many: label; their names end in consecutive numbers, p0 to p5, or one"
                " column x holds JSON lists; excluded_fields keeps a column from the model:"
                " excluded_fields=label, or"
            ),
        ),
        ("p0,p1,p2,p4,p5", "has 5 for it, 1 is missing: p3; their names"),
        ("p0,p1,p2,p3,p4,p5,p6", "1 too many: p6; their names"),
        ("p1,p01,p2,p3,p4,p5", "1 too many: p01; 1 is missing: p6; their names"),
        ("p2,p3,p4,p5,p6,p7", "1 too many: p7; 1 is missing: p1; their names"),
        ("a,b", "2 too many: a, b; 6 are missing: x0, x1, x2, ...; their names end in consecutive"),
        (",1,2,3,4,5,6", "1 too many: column 1, which has no name"),
        ("p" + "9" * 900, "1 too many: p999"),
    ],
)
def test_places_that_do_not_fit_are_told(header: str, words: str) -> None:
    cells = ",".join(["1"] * (header.count(",") + 1))
    assert words in refusal(f"{header}\n{cells}\n".encode(), x=IMAGE)


def test_an_input_of_unknown_sizes_has_no_places() -> None:
    unknown = TensorSpec(np.dtype(np.float32), (None, None, 3))
    assert "no column for the input x of the signature" in refusal(b"p0,p1,p2\n1,2,3\n", x=unknown)


def test_places_of_a_huge_input_are_told_at_once() -> None:
    huge = TensorSpec(np.dtype(np.float32), (None, 10**9, 10**9))
    message = refusal(b"p0,p2\n1,2\n", x=huge)
    assert f"{10**18 - 2} are missing: p1, p3, p4, ...;" in message


@pytest.mark.parametrize("excluded", [("id",), ("id", "c")])
def test_columns_that_are_left_out_may_hold_anything(excluded: tuple[str, ...]) -> None:
    """Numbers in one batch and text in the next: what the model sees is the same."""
    fields = InstanceFields(excluded=excluded)
    size = 4 - len(excluded)
    spec = TensorSpec(np.dtype(np.float32), (None, size))
    text = b"id,a,b,c\n1,1,2,3\n300,4,5,6\nz,7,8,9\n3,nan,1e999,z\n4,1,1,1\n"
    for rows in (1, 2, 5):
        tensors, _, errors = read(
            text, lambda faults: csv_reader(faults, fields, x=spec), rows=rows
        )
        expected = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 1, 1]]
        assert tensors["x"] == [row[:size] for row in expected]
        assert [error["row"] for error in errors] == [4]


def test_strings_have_no_places() -> None:
    spec = TensorSpec(STRING.dtype, (None, 2))
    assert "no column for the input x" in refusal(b"p0,p1\na,b\n", x=spec)
