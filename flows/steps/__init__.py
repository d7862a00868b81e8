"""What flows are made of: few coarse tasks, with retries where a retry can help."""
