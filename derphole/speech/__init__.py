"""What the two programs say to each other over a link: control messages and endings."""
