"""What can be fitted, one file or folder a method."""
