"""The networks: codec, text, patches, transformer, flow."""
