"""The explorer: a local web app over the store, the shipped records and the checkpoints (`fwplab explore`)."""
