"""What other people's code wrote, read into the house's models: one file a publication."""
