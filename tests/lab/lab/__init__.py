"""An internet in network namespaces: NATs, a Jabber server, STUN and TURN, and nodes of ipop behind them."""
