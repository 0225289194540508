"""The only places that write foreign files: graphs to models of other makers' formats."""
