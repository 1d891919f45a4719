"""What crosses a process border: frozen, versioned models.

The way of the data reads: `experiment` (with `constraints`) is defined → `event` and `control` enter the log →
`dead_letter` leaves it → `decision` explains → `allocation` is polled. `keys` spells where each lives.
"""
