"""Files of comparisons in the formats of the ecosystem."""
