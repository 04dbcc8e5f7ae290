"""The commands, and what their errors mean on the terminal."""

from importlib import import_module

import click

from app import __version__

_COMMANDS = ("compress", "fan-out", "inspect", "jobs", "predict", "report", "serve", "warm-up")


class _Commands(click.Group):
    """Imports a command when it is called: the service starts without what only jobs need."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(import_module(f"app.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="embedded-tf")
def _embedded_tf() -> None:
    """Batch predictions with a TensorFlow SavedModel, in seconds."""


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
