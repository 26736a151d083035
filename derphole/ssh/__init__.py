"""Access by ssh: public keys, the file that they are kept in, and what sshd makes of it."""

# Fixed by IANA.
USUAL_PORT = 22
