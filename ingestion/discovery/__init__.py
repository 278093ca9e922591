"""What a database holds, and what it means: catalog, keys, times, files, implied references."""
