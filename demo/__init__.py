"""The demonstration of ``make demo``: an application under gunicorn, and a visitor who checks what it does."""
