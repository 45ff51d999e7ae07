"""What each verb of the command does and prints; imported only when its verb is given."""
