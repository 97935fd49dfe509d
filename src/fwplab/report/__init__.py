"""The report: one page to share."""
