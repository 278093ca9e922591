"""From rows read to rows settled: partitions, reading, feeding, commits."""
