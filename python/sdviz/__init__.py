"""The program sdviz, which shows what happens inside Stable Diffusion. `python -m sdviz` starts it.

What records a diffusers pipeline for it is the module `sdviz_trace`, what makes a recording for rerun `sdviz_rerun`.
"""
