"""From files and live objects to models; the scanner that every file passes first."""
