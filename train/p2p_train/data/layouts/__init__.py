"""Layouts of data sets: find the pairs on disk and check their headers, without torch."""
