"""Questions about images: a controller turns features of both into a code, and the code into an answer."""
