"""The HTTP interface: routes, Vertex AI's requests, and a page that explains itself."""
