"""How the small Stable Diffusion was made; `python -m tehon.demo.recipe DIR` makes it again."""
