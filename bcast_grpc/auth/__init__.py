"""Who somebody is, and what they may do: tokens, the keys that sign them, and the file of rights."""
