"""One use case per file, over ports; none of them knows Redis, Celery or the command line."""
