"""What each verb of the command line means, in terms of hooks' decisions."""
