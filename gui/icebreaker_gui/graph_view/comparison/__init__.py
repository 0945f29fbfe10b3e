"""Any two graphs side by side: what was added, removed and changed."""
