"""The tables and figures of Greco et al. (2021) in its layout: published values beside measured ones."""
