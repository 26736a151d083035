"""`send` and `receive`: what is offered, where it goes, and one link's work at either end."""
