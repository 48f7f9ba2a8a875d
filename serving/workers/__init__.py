"""The processes of the server and their connections: readiness, reload, shutdown, sharing, shedding."""
