"""`embedded-tf report`: what became of the jobs of a run."""

import click

from app.cli.terminal import fail, print_json, settings_of_environment
from app.errors import JobError, NotFound
from app.night.run_files import Reports
from app.night.run_night import report_now
from app.storage import Connections, parse_location
from app.telemetry.log import set_up_logging


@click.command()
@click.argument("run")
@click.option(
    "--reports", envvar="REPORTS_URI", required=True, help="Folder of the reports of all runs."
)
def report(run: str, reports: str) -> None:
    """Print the report of RUN as JSON, as it is now."""
    settings = settings_of_environment()
    set_up_logging("WARNING", project=settings.project)
    try:
        folder = parse_location(reports, parameter="reports")
        found = report_now(
            run, Reports(folder, Connections(settings.project), settings.transfer_limits())
        )
        if found is None:
            raise NotFound(f"there is no run {run} in {reports}")
    except JobError as error:
        fail(error)
    print_json(found)
