"""One row becomes one document: pure, no I/O."""
