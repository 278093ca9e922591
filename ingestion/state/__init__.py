"""The state file: jobs, partitions, ledger, failures, events, files, checkpoints. Only here is SQL for SQLite."""
