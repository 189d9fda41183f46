"""Shards of clips on disk, and the ledger that says where they come from and under which licence."""
