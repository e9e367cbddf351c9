"""Reports read dossiers: HTML, JSON and a terminal summary, in English and Chinese."""
