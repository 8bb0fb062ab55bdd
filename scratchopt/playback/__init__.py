"""Playback of runs as a page: what is shown, and the page."""
