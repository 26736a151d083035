"""Datagrams on a link: sent once or never, in pieces where a packet is too small for one."""
