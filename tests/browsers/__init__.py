"""A real browser, Chromium without a window, that visits real servers on this machine."""
