"""Buckets of users, mini-batches of the table, devices, and a fit's state without devices."""
