"""One resource a route family; each gets its collaborators in the constructor."""
