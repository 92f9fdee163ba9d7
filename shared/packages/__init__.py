"""A System's package: its manifest, reading one safely, packing a folder."""
