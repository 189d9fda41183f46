"""Footage: a folder of anybody's videos and pictures becomes shards to train on, with a ledger of licences."""
