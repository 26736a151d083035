"""UDP sockets: lanes of direct paths, the interfaces they leave by, and changes of the network."""
