"""The files that records point at: found, fetched, checked, indexed."""
