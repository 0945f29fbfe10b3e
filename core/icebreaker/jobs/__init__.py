"""Work in child processes: typed requests, the supervisor, the worker."""
