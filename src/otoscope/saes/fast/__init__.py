"""Training steps on a CPU: dense products, or work on the active latents alone, shared between cores."""
