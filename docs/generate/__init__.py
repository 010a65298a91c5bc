"""What the site holds beside its written pages: references made from the code, equations, notebooks, the check of its links."""
