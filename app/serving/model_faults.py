"""Recognises errors of the model, as opposed to a row, and suggests a remedy.

The messages are those of TensorFlow's operations: core/kernels/resource_variable_ops.cc,
core/kernels/lookup_util.cc, core/framework/op.cc and op_kernel.cc.
"""

import re
from collections.abc import Sequence

_OP = re.compile(
    r"(?:Op type not registered|No OpKernel was registered to support Op) '(?P<op>[^']+)'"
)
# The packages that register ops of these names, most of which have a prefix.
_PACKAGES = {
    "tensorflow_text": (
        r"TFText>|Sentencepiece|Wordpiece|WordpieceTokenize|FastWordpiece|FastBert|FastSentencepiece"
        r"|WhitespaceTokenize|UnicodeScriptTokenize|RegexSplit|CaseFoldUTF8|NormalizeUTF8"
        r"|ConstrainedSequence|MaxSpanningTree|MstSolver|RougeL|SentenceFragments|SplitMergeTokenize"
        r"|PhraseTokenize|TrimPerGather|ByteSplit|Utf8Binarize|BytePairEncode"
    ),
    "tensorflow_decision_forests": r"SimpleML",
    "tensorflow_addons": r"Addons>",
    "tensorflow_io": r"IO>",
    "tensorflow_recommenders_addons": r"TFRA>|PyTFRA>",
    "struct2tensor": r"DecodeProtoSparse|EquiJoin|RunLengthBefore|DecodeProtoMap",
    "a Python process (tf.py_function, tf.numpy_function)": r"PyFunc|EagerPyFunc",
}
_REMEDIES = (
    (
        re.compile(r"Could not find variable|variable was uninitialized|uninitialized value"),
        (
            "the SavedModel does not hold all its variables; export a Keras model with"
            " model.export(folder), and make every variable an attribute of the module that"
            " tf.saved_model.save is given"
        ),
    ),
    (
        re.compile(r"[Tt]able not initialized|lookup table .*not (?:been )?initialized"),
        (
            "the SavedModel does not initialise its lookup tables; make each table an attribute of"
            " the module that is saved, or, for a TF1 graph, save it with tf.tables_initializer()"
            " as its main_op"
        ),
    ),
)
# Fewer failing rows prove nothing. A job that skips bad rows ends only after many, because a file
# may begin with rows that are bad in the same way.
_ENOUGH_ROWS = 4
_ENOUGH_ROWS_TO_STOP = 256
_MOST_PROBES = 8


def remedy(words: str) -> str | None:
    """The remedy for an error that only the model can cause; None for other errors."""
    if match := _OP.search(words):
        return _op_remedy(match["op"])
    return next((help_ for pattern, help_ in _REMEDIES if pattern.search(words)), None)


def likely_cause(words: str) -> str:
    """The likely cause after all rows failed in the same way."""
    if "Ragged" in words:
        return (
            "a SavedModel holds a ragged input as its values and its row splits, which are no rows:"
            " if the signature has one, export it with a dense input, and make that ragged in it"
            " with tf.RaggedTensor.from_tensor"
        )
    return "check that the model works where it was made"


def _op_remedy(op: str) -> str:
    for package, names in _PACKAGES.items():
        if re.match(names, op):
            return (
                f"the model server does not have the op {op}, which belongs to {package}; export"
                " the model without it, or do that step before the rows come here"
            )
    return (
        f"the model server does not have the op {op}; export the model without it, or name a server"
        " that has it in TENSORFLOW_MODEL_SERVER"
    )


class FailuresSoFar:
    """Tracks whether all single rows fail with the same message.

    The first prediction ends that: from then on, rows are to blame.
    """

    def __init__(self, *, skips_row_errors: bool = False) -> None:
        self._enough = _ENOUGH_ROWS_TO_STOP if skips_row_errors else _ENOUGH_ROWS
        self._words: str | None = None
        self._rows = 0
        self.is_open = True

    def close(self) -> None:
        """Stop blaming the model: a row was predicted, or rows fail in different ways."""
        self.is_open = False

    def add(self, words: str) -> None:
        """Record that a single row failed."""
        if self._words not in (None, words):
            self.close()
        self._words = words
        self._rows += 1

    @property
    def blames_model(self) -> bool:
        return self.is_open and self._rows >= self._enough


def rows_to_try(rows: int) -> Sequence[int]:
    """The indices of a few rows: the first, the last and some between."""
    probes = min(rows, _MOST_PROBES)
    return [round(index * (rows - 1) / max(1, probes - 1)) for index in range(probes)]
