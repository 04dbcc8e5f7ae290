"""Objects in the fake-gcs-server, through Google's own client."""

from pathlib import Path
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client


class Bucket:
    """One bucket of the server at `url`."""

    def __init__(self, url: str, name: str) -> None:
        client = Client(
            project="test",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # carries no types
            client_options={"api_endpoint": url},
        )
        self._client = client
        self._bucket: Any = client.create_bucket(name)
        self.uri = f"gs://{name}"

    def put(self, name: str, data: bytes | str, content_encoding: str | None = None) -> None:
        blob = self._bucket.blob(name)
        blob.content_encoding = content_encoding
        blob.upload_from_string(data)

    def put_folder(self, name: str, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                relative = path.relative_to(folder).as_posix()
                self.put(f"{name}/{relative}", path.read_bytes())

    def get(self, name: str, *, raw: bool = False) -> bytes:
        """As callers get it; `raw` as it is stored, gzipped where that is its encoding."""
        data: bytes = self._bucket.blob(name).download_as_bytes(raw_download=raw)
        return data

    def content_of(self, name: str) -> tuple[str | None, str | None]:
        """Its Content-Type and its Content-Encoding."""
        blob = self._bucket.get_blob(name)
        return blob.content_type, blob.content_encoding

    def delete(self, name: str) -> None:
        self._bucket.blob(name).delete()

    def names(self, prefix: str = "") -> list[str]:
        return sorted(blob.name for blob in self._client.list_blobs(self._bucket, prefix=prefix))
