"""What `pinnace tune` hands to the race: a judge of accuracy and a server, and what it shows."""
