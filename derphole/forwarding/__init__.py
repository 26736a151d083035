"""share and open: each TCP connection is a stream."""
