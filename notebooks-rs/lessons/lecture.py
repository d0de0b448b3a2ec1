# %% [markdown]
# # Inside Stable Diffusion: the lecture's pictures
#
# Everything that is shown in 45 minutes, made by `sdviz` commands. It needs no Rust and no kernel of its own: a Python kernel and `sdviz` on the PATH. Run all cells once before the lecture (about a minute on a laptop), then go through them; or change prompts and seeds while the class watches. The plan with its questions is in `docs/teaching.md`.
#
# 一堂 45 分钟的课要展示的全部图片，都由 `sdviz` 命令生成。不需要 Rust，也不需要专门的内核：有 Python 内核、`sdviz` 在 PATH 里就行。上课前把所有单元格运行一遍（笔记本电脑上大约一分钟），上课时逐个讲解；也可以当堂改提示词和种子。教学安排和提问见 `docs/teaching.md`。

# %%
from IPython.display import Image

# %% [markdown]
# ## 1. A picture from words · 从一句话到一张图
#
# Ask first: where does the computer begin, with a white sheet? · 先问：计算机从哪里开始画，从一张白纸吗？

# %% language="sh"
# sdviz trace --prompt "a red apple on a blue background" --seed 7 --out lecture/apple --force

# %%
Image("lecture/apple/final.png", width=256)

# %% [markdown]
# ## 2. From noise to the picture · 从噪声到图
#
# Ask first: in which of 25 steps can one tell what it is? · 先问：25 步里，走到第几步能看出是什么？

# %% language="sh"
# sdviz filmstrip lecture/apple --frames 8 --size 128
# sdviz video lecture/apple --what images --every 2 --fps 5 --format gif --size 128

# %%
Image("lecture/apple/exports/filmstrip-images.png")

# %%
Image("lecture/apple/exports/video-images.gif", width=256)

# %% [markdown]
# ## 3. What the model expects at each step · 每一步模型心里想的图
#
# Ask first: sooner or later than the picture itself? · 先问：会比画面本身更早还是更晚看清？

# %% language="sh"
# sdviz video lecture/apple --what x0 --every 2 --fps 5 --format gif --size 128

# %%
Image("lecture/apple/exports/video-x0.gif", width=256)

# %% [markdown]
# ## 4. What it works on: the latents · 它真正处理的东西：潜变量
#
# Ask first: the picture is 49,152 numbers. How many does the loop work on? (1,024) · 先问：一张图是 49,152 个数，循环里处理的有多少个？（1,024 个）

# %% language="sh"
# sdviz shapes lecture/apple
# sdviz latents lecture/apple --channels 0,1,3 --fps 5 --format gif --size 128
# sdviz latents lecture/apple --sheet

# %%
Image("lecture/apple/exports/latents-sheet.png")

# %%
Image("lecture/apple/exports/latents-013.gif", width=256)

# %% [markdown]
# ## 5. How many steps? · 要走多少步？
#
# Ask first: what will 1 step look like, what 50? · 先问：只走 1 步是什么样？走 50 步呢？

# %% language="sh"
# sdviz sweep --prompt "a red apple on a blue background" --steps 1,2,5,10,25,50 --seed 7 --decode final --out lecture/steps

# %%
Image("lecture/steps/exports/grid.png", width=640)

# %% [markdown]
# ## 6. Guidance · 引导
#
# Ask first: what will scale 1 look like, what 15? · 先问：系数 1 会是什么样？15 呢？

# %% language="sh"
# sdviz sweep --prompt "a red apple on a blue background" --guidance-scale 1,3,5,7.5,15 --seed 1-2 --decode final --out lecture/guidance
# sdviz plot lecture/apple --what guidance

# %%
Image("lecture/guidance/exports/grid.png", width=640)

# %%
Image("lecture/apple/exports/plot-guidance.png", width=640)

# %% [markdown]
# ## 7. A negative prompt · 负向提示词
#
# Ask first: where the prompt names no background, the apple of seed 1 lies on purple, that of seed 2 on green. What happens when that background stands in the negative prompt? · 先问：提示词不提背景，种子 1 的苹果在紫底上，种子 2 的在绿底上。把这个背景写进负向提示词，会怎样？

# %% language="sh"
# sdviz sweep --prompt "a red apple" --negative-prompt "" --negative-prompt "purple background" --negative-prompt "green background" --seed 1-4 --decode final --out lecture/negative

# %%
Image("lecture/negative/exports/grid.png", width=640)

# %% [markdown]
# ## 8. From a sketch · 从草图开始
#
# Ask first: strength 0.2 and strength 0.9, which is closer to the sketch? · 先问：强度 0.2 和 0.9，哪个更像草图？

# %% language="sh"
# sdviz sweep --prompt "a red apple" --init-image ../assets/sketch.png --strength 0.2,0.4,0.6,0.9 --seed 1 --decode final --out lecture/strength

# %%
Image("lecture/strength/exports/grid.png", width=640)

# %% [markdown]
# ## 9. One noise, eight schedulers · 同一份噪声，八个调度器
#
# Ask first: the noise is the same. Will the pictures be? · 先问：噪声相同，画出来的图也相同吗？

# %% language="sh"
# sdviz sweep --prompt "a red apple on a blue background" --scheduler ddim,ddpm,euler,euler_a,heun,lms,dpmpp_2m,unipc --steps 10 --seed 7 --decode final --out lecture/schedulers

# %%
Image("lecture/schedulers/exports/grid.png", width=640)
