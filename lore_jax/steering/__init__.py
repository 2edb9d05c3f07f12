"""What a personal reward changes: picked replies, trainers, merged adapters, groups."""
