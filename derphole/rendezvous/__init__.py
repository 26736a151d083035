"""From settings or a token to a claimed link; every conversation begins here.

issuer       relays chosen, one connected, token, ... claimed, link
claimer      token, its relays, claim, ... decision, first sealed packet, link; and back again
common       what both share: the links, what they report, the goodbye
connections  the relay connections of a run, and what is wrong with them
waiting      nobody waits in silence
"""
