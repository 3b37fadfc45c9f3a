"""The trained map in the user's units, and how sure its reconstructions are."""
