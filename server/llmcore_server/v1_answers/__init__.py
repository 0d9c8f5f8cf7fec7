"""The answers of the routes under ``/v1``: one file a route family, and one for the events of its streams."""
