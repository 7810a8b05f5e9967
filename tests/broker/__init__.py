"""What every broker promises to a hub, and what each one adds."""
