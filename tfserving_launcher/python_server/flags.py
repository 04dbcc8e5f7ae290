"""The command line, read as the real program reads it.

Source: tensorflow/core/util/command_line_flags.cc and model_servers/main.cc. Only `--name=value`
(and `--name` for a bool) is understood; an unknown flag is reported with the usage on standard
output and then ignored; a value that cannot be read ends the program with status 255.
"""

import dataclasses
from dataclasses import dataclass, field

USAGE_EXIT_STATUS = 255


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of `tensorflow_model_server` that the stand-in honours, with its defaults."""

    port: int = field(default=8500, metadata={"help": "must be 0: TCP is not served"})
    grpc_socket_path: str = field(default="", metadata={"help": "unix socket to listen on"})
    model_name: str = field(default="default", metadata={"help": "name of the model"})
    model_base_path: str = field(default="", metadata={"help": "folder of numbered versions"})
    max_num_load_retries: int = field(default=5, metadata={"help": "the stand-in never retries"})
    file_system_poll_wait_seconds: int = field(
        default=1, metadata={"help": "the stand-in looks once"}
    )
    tensorflow_intra_op_parallelism: int = field(
        default=0, metadata={"help": "threads of one kernel; 0 = automatic"}
    )
    tensorflow_inter_op_parallelism: int = field(
        default=0, metadata={"help": "kernels that run at once; 0 = automatic"}
    )
    grpc_max_threads: int = field(default=8, metadata={"help": "calls at once"})
    enable_serialization_as_tensor_content: bool = field(
        default=False, metadata={"help": "answers carry tensor_content"}
    )
    enable_model_warmup: bool = field(
        default=True, metadata={"help": "replay assets.extra/tf_serving_warmup_requests"}
    )
    prefer_tflite_model: bool = field(
        default=False, metadata={"help": "load model.tflite where there is one"}
    )
    saved_model_tags: str = field(default="serve", metadata={"help": "tags of the meta graph"})
    version: bool = field(default=False, metadata={"help": "print the version and exit"})
    help: bool = field(default=False, metadata={"help": "print this and exit"})


def parse_flags(arguments: list[str]) -> Flags:
    """Raises ValueError, naming the argument, for a value that cannot be read."""
    fields = {each.name: each for each in dataclasses.fields(Flags)}
    values: dict[str, int | str | bool] = {}
    unknown = []
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in fields:
            unknown.append(argument)
        elif isinstance(fields[name].default, bool):
            if equals and text not in ("true", "false"):
                raise ValueError(f"Failed to parse {argument}: expected true or false")
            values[name] = not equals or text == "true"
        elif not equals:
            unknown.append(argument)
        elif isinstance(fields[name].default, int):
            values[name] = int(text)
        else:
            values[name] = text
    if unknown:
        print(f"unknown argument: {unknown[0]}\n{usage()}", flush=True)
    return Flags(**values)  # type: ignore[arg-type]  # each value was read as its field's type


def usage() -> str:
    """One line a flag, `--name=default`, its type and meaning, as TensorFlow prints them."""
    lines = ["usage: python -m tfserving_launcher.python_server", "Flags:"]
    for each in dataclasses.fields(Flags):
        kind = type(each.default).__name__.replace("str", "string").replace("int", "int32")
        default = str(each.default).lower() if kind == "bool" else repr(each.default)
        lines.append(f"\t--{each.name}={default}\t{kind}\t{each.metadata['help']}")
    return "\n".join(lines)
