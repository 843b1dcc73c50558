"""The harness of the tests that talk to real servers: Python's standard library only."""
