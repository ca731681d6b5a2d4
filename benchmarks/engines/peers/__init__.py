"""Other session systems, each as it comes and around the same three pages; imported only where they are used."""
