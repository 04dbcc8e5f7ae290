"""The HTTP interface: routes, Vertex AI's requests, and a usage page."""
