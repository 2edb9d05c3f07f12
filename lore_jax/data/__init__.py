"""What goes in: a table of embedded responses, index pairs into it, and splits without leaks."""
