"""How fast a bundle or a server is: scenarios, load, measurement, reports."""
