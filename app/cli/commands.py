"""The commands, and what their errors mean on the terminal."""

import click

from app.cli.inspect import inspect
from app.cli.predict import predict
from app.cli.serve import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="embedded-tf")
def _embedded_tf() -> None:
    """Batch predictions with a TensorFlow SavedModel, in seconds."""


for _command in (predict, inspect, serve):
    _embedded_tf.add_command(_command)


def run() -> int:
    """Runs the command of `sys.argv`; returns its exit status."""
    try:
        status = _embedded_tf.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return status if isinstance(status, int) else 0
