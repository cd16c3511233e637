"""The small Stable Diffusion in the package, the pictures that go with it, and the recipe that made both."""
