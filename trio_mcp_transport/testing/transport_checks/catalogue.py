"""All checks, in the order in which they run: what later ones rely on comes first.

Must never hold a check of its own.
"""

from __future__ import annotations

from . import (
    cancellation,
    closing,
    concurrency,
    content,
    delivery,
    half_close,
    hooks,
    ids,
    injection,
    lifecycle,
    limits,
    ordering,
    pressure,
    stream_faults,
)
from .check import Check

__all__ = ["CHECKS"]

CHECKS: tuple[Check, ...] = (
    lifecycle.addresses_are_reported,
    delivery.requests_arrive,
    delivery.notifications_arrive,
    delivery.errors_arrive,
    delivery.server_messages_arrive,
    ordering.notifications_precede_the_response,
    concurrency.answers_come_in_any_order,
    ids.ids_keep_their_type,
    concurrency.connections_do_not_mix,
    content.odd_content_passes,
    content.large_messages_pass,
    cancellation.leaving_cancels_the_handler,
    cancellation.a_cancelled_server_fails_its_clients,
    closing.closing_a_client_ends_its_calls,
    closing.shutdown_answers_what_was_asked,
    closing.draining_has_an_end,
    closing.an_idle_server_ends_at_once,
    hooks.close_comes_last_and_once,
    hooks.each_connection_closes_once,
    lifecycle.an_object_runs_once,
    lifecycle.statistics_count,
    limits.a_server_keeps_its_limit,
    limits.a_client_keeps_its_limit,
    limits.outgoing_limits_hold,
    pressure.a_slow_server_slows_its_client,
    half_close.half_close_brings_every_answer,
    stream_faults.single_bytes_are_enough,
    stream_faults.unreadable_messages_are_refused,
    stream_faults.reordered_requests_are_all_answered,
    stream_faults.a_cut_ends_its_connection_alone,
    stream_faults.a_peer_that_stops_reading_is_given_up,
    stream_faults.every_stream_call_may_fail,
    injection.a_request_is_cancelled_anywhere,
    injection.opening_is_cancelled_anywhere,
    lifecycle.nothing_is_left,
)
"""Every check."""
