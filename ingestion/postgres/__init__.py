"""The source's side: addresses, sessions, types, errors and text of PostgreSQL."""
