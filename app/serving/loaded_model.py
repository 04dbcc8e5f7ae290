"""A loaded model: its local files and its server, which may outlive the job that loaded it."""

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from app.instance.workspace import job_folder
from app.savedmodel.model_files import ModelFiles
from app.settings import Settings
from app.storage import Location, StoredFile
from app.telemetry.log import LogSlot
from tfserving_launcher import ModelServer, resident_bytes

_PROBE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What two jobs must agree on to use the same server.

    `files` are the name, size, generation and real path of each file; of a local one also its
    inode and when it was last changed in any way, since sizes and times may be made the same.
    `settings` are those that decide which files may be read, and how the server runs.
    """

    folder: str
    files: tuple[tuple[str | int | None, ...], ...]
    settings: tuple[object, ...]

    @classmethod
    def of(cls, model: ModelFiles, settings: Settings) -> Self:
        return cls(
            folder=str(model.folder),
            files=tuple(
                (file.uri, file.size, file.generation, file.real_path, *_inode(file))
                for file in model.files
            ),
            settings=(
                settings.allowed_uri_prefixes,
                settings.local_roots,
                settings.server_environment,
                settings.confine_model,
                settings.keep_variables,
            ),
        )


def _inode(file: StoredFile) -> tuple[int, ...]:
    if file.location.scheme != "file":
        return ()
    try:
        status = Path(file.location.path).stat()
    except FileNotFoundError:
        return ()  # which fetching it will tell
    return status.st_dev, status.st_ino, status.st_ctime_ns


@dataclass(slots=True, eq=False)
class LoadedModel:
    """A temporary folder with a model's files, and the server that has loaded them.

    `asked_for` are the locations that jobs have named for it. `server` is None until there is one,
    and while a job does not want it to be kept. `is_pinned` keeps it for good, `is_reserved` for
    one job that comes. `warmed_up` marks the requests that it was sent.
    """

    model: ModelFiles
    key: ModelKey
    folder: Path
    asked_for: set[Location]
    server: ModelServer | None = None
    version_dir: Path | None = None
    is_pinned: bool = False
    is_reserved: bool = False
    warmed_up: set[object] = field(default_factory=set)
    # The job to which the server's output belongs.
    log: LogSlot = field(default_factory=LogSlot)
    _stack: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def in_new_folder(cls, model: ModelFiles, key: ModelKey, asked_for: Location) -> Self:
        """A model that is not fetched yet. Raises ServerFailed if the disk is full."""
        with ExitStack() as stack:
            folder = stack.enter_context(job_folder())
            return cls(model, key, folder, {asked_for}, _stack=stack.pop_all())

    def is_ready(self) -> bool:
        return self.server is not None and self.server.is_ready(_PROBE_SECONDS)

    def memory_bytes(self) -> int:
        """What the server and the files in the folder take. Linked files are not in it."""
        own = 0
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # a model may delete what it has written
                own += 0 if path.is_symlink() else path.lstat().st_size
        return own + (0 if self.server is None else resident_bytes(self.server.pid))

    def close(self) -> None:
        """Stop the server, and remove the folder."""
        server, self.server = self.server, None
        try:
            if server is not None:
                server.__exit__(None, None, None)
        finally:
            self._stack.close()
