"""Speed and memory, measured: one benchmark a file."""
