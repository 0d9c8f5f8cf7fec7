"""The whole answers of the routes under ``/v1``, one file a route family."""
