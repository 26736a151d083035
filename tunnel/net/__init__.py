"""The gevent drivers: the only code in tunnel that blocks."""
