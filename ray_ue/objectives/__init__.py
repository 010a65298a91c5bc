"""What crafting optimises: the UC anchor loss, the MI-UE loss, and the aims."""
