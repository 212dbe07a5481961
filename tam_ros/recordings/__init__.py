"""Recordings from their first frame to their last: tracking them, and what becomes of it."""
