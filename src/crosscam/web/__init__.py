"""The page and the REST API over a gallery; ``crosscam serve`` starts them."""
