"""Ports that routers forward to us: NAT-PMP, PCP and UPnP IGD as machines."""
