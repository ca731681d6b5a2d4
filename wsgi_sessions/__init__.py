"""Server-side sessions as middleware for every synchronous Python web app."""
