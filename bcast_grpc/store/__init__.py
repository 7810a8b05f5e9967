"""Work on a store's file: copy it, look into it, check it. What a server has open may be read meanwhile."""
