"""A RESTARTING frame as a relay sends it that is about to stop; ours never does."""

from tunnel.wire import derp


def encode_restarting(value: derp.Restarting) -> bytes:
    """Return the frame; times are rounded to milliseconds."""
    times = (value.reconnect_in_s, value.try_for_s)
    fields = (round(1000 * time).to_bytes(4, "big") for time in times)
    return derp.encode_frame(derp.FrameType.RESTARTING, *fields)
