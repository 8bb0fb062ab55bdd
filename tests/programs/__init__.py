"""Long checks that are programs too: `python -m tests.programs.kills 50 4 0`."""
