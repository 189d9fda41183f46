"""Engines: models behind one protocol, a velocity with its codec and its way of reading a prompt."""
