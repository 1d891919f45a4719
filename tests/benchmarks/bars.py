"""What each figure must reach; a figure without a bar is for orientation."""

from __future__ import annotations

AT_LEAST = {
    "columnar_events_per_second": 2_000_000,
    "columnar_dedupe_events_per_second": 150_000,
    "row_events_per_second": 50_000,
    "signed_row_events_per_second": 42_500,  # 85 % of what rows must reach without
    "protected_events_per_second": 127_500,  # 85 % of what batches with ids must reach without
    "signed_columnar_ratio": 0.85,
    "signed_dedupe_ratio": 0.85,
    "columnar_vs_celery_task_ratio": 2_000,
    "experiments_per_second": 1_000,
    "p_best_speed_over_draws_ratio": 10,
    "p_best_error_of_draws_ratio": 1_000,
    "correlated_fits_per_second": 40,
    "variant_calls_per_second": 500_000,
    "assignments_per_second": 1_000_000,
    "gateway_304_requests_per_second": 4_000,
    "gateway_200_requests_per_second": 4_000,
    "gateway_ofrep_requests_per_second": 3_000,
}
AT_MOST = {
    "event_to_folded_p99_ms": 250.0,
    "correlated_p_best_max_error": 1e-3,
    "report_seconds_512_epochs": 1.0,
    "publish_to_client_p99_ms": 50.0,
    "gateway_304_p99_ms": 20.0,
    "gateway_200_p99_ms": 20.0,
    "gateway_ofrep_p99_ms": 20.0,
}


def judge(name: str, value: float) -> tuple[bool, str]:
    """Whether the figure meets its bar, and the bar in words."""
    if name in AT_LEAST:
        return value >= AT_LEAST[name], f"≥ {AT_LEAST[name]:,}"
    if name in AT_MOST:
        return value <= AT_MOST[name], f"≤ {AT_MOST[name]:g}"
    return True, "–"
