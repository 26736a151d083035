"""Files, folders and text: what is offered, what is held already, and both ends of a transfer."""
