"""What can be said of an upgrade before it runs. Pure."""
