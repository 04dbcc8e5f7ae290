"""`embedded-tf report`: what became of the jobs of a run."""

import click

from app.cli.terminal import fail, print_json, settings_of_environment
from app.errors import JobError, NotFound
from app.night.run_files import RunFiles, check_run_name
from app.storage import Connections, parse_location
from app.telemetry.log import set_up_logging


@click.command()
@click.argument("run")
@click.option("--reports", required=True, help="Folder of the reports of all runs.")
def report(run: str, reports: str) -> None:
    """Print the report of RUN as JSON."""
    settings = settings_of_environment()
    set_up_logging("WARNING", project=settings.project)
    try:
        folder = parse_location(reports, parameter="reports")
        connections = Connections(settings.project)
        limits = settings.transfer_limits()
        found = RunFiles(folder, check_run_name(run), connections, limits).load_report()
        if found is None:
            raise NotFound(f"there is no report of a run {run} in {reports}")
    except JobError as error:
        fail(error)
    print_json(found)
