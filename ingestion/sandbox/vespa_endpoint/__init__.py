"""A local endpoint that speaks Vespa's HTTP for what procore-ingest uses: for trying out and for tests.

It is no Vespa and not for production: one process, one SQLite file, one content node's worth of nothing.
README.md beside this file lists what it answers and what it refuses.
"""
