"""The HTTP gateway: published weights for whoever cannot reach the data server, outcome events from whoever must not.

::

    weights · ofrep · payloads ──reads──► board ──polls──► allocations, shown once durable (fence)
    events ──checks, writes──► intake ──XADD──► log, unless it is under pressure

`routes` lists every address with its role, `access` says who may ask, `openapi` writes the document of both, `server`
runs it. Handlers are thin; what an answer depends on is in `board` and `intake`.
"""
