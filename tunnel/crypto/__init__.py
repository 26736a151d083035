"""Keys, key derivation, the Noise handshake, boxes and sealed packets; randomness is passed in."""
