"""Tools that make and change model files."""
