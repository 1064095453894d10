"""Components: the router, safety, multimodal and performance adapters, each on the shared trainer."""
