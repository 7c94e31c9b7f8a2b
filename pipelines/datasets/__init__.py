"""Published layouts to cases."""
