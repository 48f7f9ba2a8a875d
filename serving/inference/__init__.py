"""How an image is answered: admission, scheduling, the models, and which runtime runs them."""
