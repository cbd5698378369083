"""Other people's shapes of a transport, in both directions: blocking send/receive/close, and callbacks.

Import from `adapters.blocking`, `adapters.callback` and `adapters.wrappers`.
"""
