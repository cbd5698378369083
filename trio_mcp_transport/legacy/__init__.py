"""Everything that exists only for revisions up to 2025-11-25; to be deleted as one folder when they go.

Reached through `transports.eras` only.
"""
