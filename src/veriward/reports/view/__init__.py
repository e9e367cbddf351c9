"""A local page over dossiers: `veriward view`. Reads files, writes none, and answers this machine alone."""
