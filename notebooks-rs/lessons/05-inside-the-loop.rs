// %% [markdown] lang="en"
// # Inside the loop
//
// You will be able to
//
// - name everything that happens between a prompt and a picture, with the shape of each tensor;
// - compute guidance by hand;
// - compute a step of the scheduler by hand, and compare it with the library's;
// - write `generate_simplified`, the whole of Stable Diffusion in twenty lines, and compare its picture with the library's.
//
// So far one call did everything: `sd.draw(…).run()?`. This lesson takes it apart. A **tensor** is an array of numbers with a shape, such as [1, 4, 16, 16]; everything below is one, and each call is one line.

// %% [markdown] lang="zh"
// # 循环内部
//
// 你将学会：
//
// - 说出从提示词到图之间发生的每一件事，以及每个张量的形状；
// - 亲手算一次引导；
// - 亲手算出调度器的一步，并和程序库的结果对比；
// - 写出 `generate_simplified`：二十行就是整个 Stable Diffusion，再把画出来的图和程序库的对比。
//
// 到目前为止，一句 `sd.draw(…).run()?` 就包办了一切。这一课把它拆开。**张量**就是带形状的数组，比如 [1, 4, 16, 16]；下面处理的全是张量，每个调用只有一行。

// %%
use sdviz::prelude::*;
let sd = Model::load("pocket")?;
let prompt = "a red apple on a blue background";
let steps: usize = 25;
let guidance_scale: f64 = 5.0;
let seed: u64 = 7;

// %% [markdown] lang="en"
// ## The prompt becomes numbers
//
// A tokenizer cuts the prompt into **tokens**, words or pieces of words, each with a number.
//
// **Predict:** the prompt has seven words. How many tokens is the model given?

// %% [markdown] lang="zh"
// ## 提示词变成数字
//
// 分词器把提示词切成**词元**（token）：一个词或词的一部分，各有一个编号。
//
// **先猜一猜：**这句提示词有七个单词。交给模型的词元有多少个？

// %%
let tokens = sd.tokens(prompt)?;
assert_eq!(tokens.ids().len(), 77);
tokens

// %% [markdown] lang="en"
// Always 77: a begin-of-text token, the words, an end-of-text token, and the places that are left filled up with end-of-text. (`</w>` in the table marks the end of a word.) **Why?** The text encoder was built with 77 places. A longer prompt is cut off there.
//
// The **text encoder** turns each token into a row of numbers, its **embedding**. Guidance needs two texts (lesson 2): the prompt, and the empty one.

// %% [markdown] lang="zh"
// 永远是 77 个：一个开始词元，然后是各个单词，再一个结束词元，空着的位置全部用结束词元填满。（表里的 `</w>` 表示一个词到此结束。）**为什么？**文本编码器造出来就是 77 个位置。更长的提示词会在那里被截断。
//
// **文本编码器**把每个词元变成一行数，叫作它的**嵌入**。引导需要两段文本（见第 2 课）：提示词，还有空文本。

// %%
let text = sd.text_embeddings(&["", prompt])?;
println!("text embeddings  {:?}", text.size());

// %% [markdown] lang="en"
// Two texts, 77 places, 128 numbers a place. **With Stable Diffusion:** [2, 77, 768]; and its tokenizer knows 49,408 tokens, where pocket's knows 761 and cuts most other words to pieces.
//
// **Predict:** replace "blue" by "green". Which of the 77 rows change: that of the colour, that one and all after it, or all?

// %% [markdown] lang="zh"
// 两段文本，77 个位置，每个位置 128 个数。**换成 Stable Diffusion：**[2, 77, 768]；它的分词器认识 49,408 个词元，而 pocket 的只认识 761 个，别的词大多要切成碎片。
//
// **先猜一猜：**把 “blue” 换成 “green”。77 行里哪些会变：只有颜色那一行、从那一行往后，还是全部？

// %%
for other in ["a red apple on a green background", "a red banana on a blue background", "a pizza on a blue background"] {
    let both = sd.text_embeddings(&[prompt, other])?;
    let at = |text: i64, place: i64| both.get(text).get(place);
    let differs: Vec<bool> = (0..77).map(|place| !at(0, place).equal(&at(1, place))).collect();
    let first = differs.iter().position(|differs| *differs).unwrap_or(77);
    println!("{other}: rows 0 to {} are equal, all from {first} on differ", first - 1);
    assert!(first < 77 && differs[first..].iter().all(|differs| *differs));
}

// %% [markdown] lang="en"
// From the changed word on. **Why?** In this text encoder a token looks at itself and at what stands before it, never ahead. "red apple" cannot know of the colour that is still to come; everything after it has heard of it. So the many end-of-text tokens are not empty: each has read the whole prompt.

// %% [markdown] lang="zh"
// 从改动的词开始，往后全变。**为什么？**在这种文本编码器里，每个词元只看自己和前面的词元，从不往后看。“red apple” 不可能知道后面才出现的颜色，而后面的词都已经听说过它。所以那一长串结束词元并不是空的：每一个都读完了整句提示词。

// %% [markdown] lang="en"
// ## The noise
//
// As you know, the latents of a 128×128 picture are [1, 4, 16, 16], and the loop begins with noise of that shape.

// %% [markdown] lang="zh"
// ## 噪声
//
// 你已经知道，128×128 的图对应的潜变量是 [1, 4, 16, 16]，循环就从这个形状的噪声开始。

// %%
let noise = sd.noise(seed);
println!("noise  {:?}", noise.size());
Latents::from_tensor(&noise)?

// %% [markdown] lang="en"
// ## One step, slowly
//
// The **scheduler** has the plan: at which **timesteps** the UNet is called. They count down: at 999 there is next to nothing but noise, at 0 next to none. We take the scheduler `ddim`, which is pocket's own; lesson 8 has the others. (`init_noise_sigma` is by how much a scheduler multiplies the starting noise. For this one it is 1.)

// %% [markdown] lang="zh"
// ## 慢慢走一步
//
// **调度器**手里有整个计划：在哪些**时间步**上调用 UNet。时间步从大往小数：999 几乎全是噪声，0 几乎没有噪声。这里用的是 pocket 自己的调度器 `ddim`，别的调度器见第 8 课。（`init_noise_sigma` 是起始噪声要乘的倍数，对这个调度器就是 1。）

// %%
let mut scheduler = sd.scheduler("ddim", steps)?;
println!("{:?}", scheduler.timesteps());
let mut latents = &noise * scheduler.init_noise_sigma();

// %% [markdown] lang="en"
// Now the **UNet** is asked how much of this is noise. It is asked twice in one go, with the empty text and with the prompt. Several inputs that are computed together, such as these two, are a **batch**.
//
// **Predict:** what shape goes into the UNet, and what shape comes out?

// %% [markdown] lang="zh"
// 现在问 **UNet**：这里面有多少是噪声？一次问两遍：一遍配空文本，一遍配提示词。像这样放在一起计算的几份输入，叫一个**批次**。
//
// **先猜一猜：**送进 UNet 的是什么形状？出来的又是什么形状？

// %%
let timestep = scheduler.timesteps()[0];
let input = scheduler.scale_model_input(&latents, 0)?.repeat([2, 1, 1, 1]);
let predicted = sd.predict_noise(&input, timestep, &text)?;
println!("timestep          {timestep}");
println!("the UNet's input  {:?}", input.size());
println!("noise prediction  {:?}", predicted.size());
assert_eq!(input.size(), predicted.size());

// %% [markdown] lang="en"
// The same shape: one predicted number for each number of the latents. (`scale_model_input` leaves the latents as they are for this scheduler. For others it does not: lesson 8.)
//
// ## Guidance by hand
//
// The batch is taken apart again: `narrow(0, 0, 1)` is its first row, `narrow(0, 1, 1)` its second. `guided` is the library's formula.
//
// **Predict:** how far apart are the two predictions? By a few percent of their size, by half of it, or more?

// %% [markdown] lang="zh"
// 形状不变：潜变量里的每个数，都有一个预测的噪声。（对这个调度器，`scale_model_input` 什么也不改。有的调度器会改，见第 8 课。）
//
// ## 亲手算引导
//
// 先把批次拆开：`narrow(0, 0, 1)` 取第一份，`narrow(0, 1, 1)` 取第二份。`guided` 是程序库自己的公式。
//
// **先猜一猜：**这两个预测差多远？只有自身大小的百分之几、一半，还是更多？

// %%
fn size(tensor: &Tensor) -> f64 {
    tensor.square().mean(Kind::Float).sqrt().double_value(&[])
}

let without = predicted.narrow(0, 0, 1);
let with = predicted.narrow(0, 1, 1);
let by_hand = &without + guidance_scale * (&with - &without);
println!("apart by {:.0} % of their size", 100.0 * size(&(&with - &without)) / size(&without));
assert!(by_hand.allclose(&guided(&without, &with, guidance_scale)?, 1e-6, 1e-6, false));

// %% [markdown] lang="en"
// A few percent, for this seed; the next cell has three others. **Why so little?** What the UNet sees is nearly all noise, and that is noise whatever the picture is going to be. The prompt's say lies in the small rest, and guidance counts it five times.
//
// **Predict:** and in later steps, when there is less noise: more or less apart? (`NoiseUncond` is the recorded prediction with the empty text, `NoiseText` the one with the prompt.)

// %% [markdown] lang="zh"
// 百分之几，这是一个种子，下一个单元格再看另外三个。**为什么这么少？**UNet 眼前几乎全是噪声，而不管以后画什么，噪声都是噪声。提示词能左右的只有剩下的那一点点，引导把它放大到五倍。
//
// **先猜一猜：**到了后面，噪声少了，两个预测会差得更多还是更少？（记录里的 `NoiseUncond` 是配空文本的预测，`NoiseText` 是配提示词的预测。）

// %%
for seed in [1, 2, 3] {
    let run = sd.draw(prompt).scheduler("ddim").seed(seed).record(All).decode(Decode::Final).run()?;
    let (mut as_noise, mut as_picture) = (vec![], vec![]);
    for step in [1, 4, 16, 25] {
        let recorded = |what| run.tensors(step, what).map(|tensor| tensor.unwrap_or_default());
        let length = |array: &Array4<f32>| f64::from(array.mapv(|x| x * x).sum().sqrt());
        let (without, with) = (recorded(Quantity::NoiseUncond)?, recorded(Quantity::NoiseText)?);
        let apart = length(&(&with - &without));
        as_noise.push(100.0 * apart / length(&without));
        as_picture.push(100.0 * apart * scheduler.level(step - 1).sigma / length(&recorded(Quantity::PredictedOriginal)?));
    }
    println!("seed {seed}, steps 1, 4, 16, 25: apart by {as_noise:.1?} % as noise, {as_picture:.1?} % as picture");
    assert!(as_noise[1] < as_noise[0] && as_noise[1] < as_noise[2] && as_noise[2] < as_noise[3]);
    assert!(as_picture.windows(2).all(|pair| pair[0] > pair[1]));
}

// %% [markdown] lang="en"
// First less, then ever more, *as noise*. But noise is not yet picture: what is taken for noise is missing from the predicted original σ times (lesson 3), and σ falls from 12 to 0.04 on the way. As picture, the prompt has most to say in the first steps and next to nothing in the last. (In percent of the size of the predicted original; guidance counts both five times.)
//
// ## A step of the scheduler by hand
//
// The scheduler takes *a little* of the noise away. DDIM, the one used here, has two lines for it. Let ᾱ (alpha-bar, `alpha_cumprod` in the code) be the picture's share of the latents' variance at this noise level, and ᾱ′ at the next. Variance is the square of the standard deviation; that is where the roots come from.
//
// > x0 = (latents − √(1−ᾱ) · noise) / √ᾱ
// >
// > next latents = √ᾱ′ · x0 + √(1−ᾱ′) · noise
//
// The first line is the predicted original of lesson 3: all of the noise gone at once. The second puts the same noise back, a little less of it.
//
// **Predict:** at the first step, is ᾱ nearer to 0 or to 1?

// %% [markdown] lang="zh"
// 先变少，然后越来越多，但这说的是*噪声*。噪声还不是画面：预测的噪声差一份，预测的原图就差 σ 份（第 3 课），而 σ 一路从 12 降到 0.04。落到画面上，提示词在最初几步影响最大，最后几步几乎不起作用。（百分比以预测的原图的大小为准；引导会把两者都放大到五倍。）
//
// ## 亲手算调度器的一步
//
// 调度器只去掉*一点点*噪声。这里用的是 DDIM，它的公式就两行。设 ᾱ（读作 alpha-bar，代码里叫 `alpha_cumprod`）是当前噪声水平上画面在潜变量方差里占的份额，ᾱ′ 是下一个水平上的份额。方差是标准差的平方，所以公式里有根号：
//
// > x0 = (潜变量 − √(1−ᾱ) · 噪声) / √ᾱ
// >
// > 下一步的潜变量 = √ᾱ′ · x0 + √(1−ᾱ′) · 噪声
//
// 第一行就是第 3 课里预测的原图：把噪声一次全部去掉。第二行把同样的噪声放回去，只是少放一点。
//
// **先猜一猜：**第一步的 ᾱ 更接近 0 还是更接近 1？

// %%
let (now, next) = (scheduler.level(0).alpha_cumprod, scheduler.level(1).alpha_cumprod);
println!("ᾱ = {now:.4}, ᾱ′ = {next:.4}");
let x0 = (&latents - (1.0 - now).sqrt() * &by_hand) / now.sqrt();
let stepped = next.sqrt() * &x0 + (1.0 - next).sqrt() * &by_hand;

let library = scheduler.step(&by_hand, 0, &latents, &mut no_noise)?;
assert!(stepped.allclose(&library.prev_sample, 1e-4, 1e-4, false));
assert!(x0.allclose(&library.pred_original, 1e-4, 1e-4, false));
latents = stepped;
println!("latents  {:?}", latents.size());

// %% [markdown] lang="en"
// Nearer to 0: less than a hundredth is picture. By hand and by the library it is the same step. (`no_noise` stands where a scheduler that draws fresh noise would get it from; DDIM draws none.) All 25 steps, for three seeds:

// %% [markdown] lang="zh"
// 接近 0：画面连百分之一都不到。亲手算的和程序库算的是同一步。（有的调度器每步要抽新的噪声，`no_noise` 占的就是那个参数的位置；DDIM 不用抽。）再看三个种子、全部 25 步：

// %%
for seed in [1, 2, 3] {
    let mut scheduler = sd.scheduler("ddim", steps)?;
    let mut latents = sd.noise(seed);
    let mut apart: f64 = 0.0;
    for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate() {
        let predicted = sd.predict_noise(&latents.repeat([2, 1, 1, 1]), timestep, &text)?;
        let noise = guided(&predicted.narrow(0, 0, 1), &predicted.narrow(0, 1, 1), guidance_scale)?;
        let (now, next) = (scheduler.level(call).alpha_cumprod, scheduler.level(call + 1).alpha_cumprod);
        let x0 = (&latents - (1.0 - now).sqrt() * &noise) / now.sqrt();
        let by_hand = next.sqrt() * x0 + (1.0 - next).sqrt() * &noise;
        latents = scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample;
        apart = apart.max((by_hand - &latents).abs().max().double_value(&[]));
    }
    assert!(apart < 1e-4, "seed {seed}: {apart}");
}

// %% [markdown] lang="en"
// ## All of it
//
// You have read the loop already, squeezed into the cell above. Here it stands in full.
//
// **Predict:** how far will its picture be from that of `sd.draw(…)`: a level or two because of rounding, more, or not at all?

// %% [markdown] lang="zh"
// ## 全部合在一起
//
// 上一个单元格里其实已经有了这个循环，只是挤在一起。下面是完整的写法。
//
// **先猜一猜：**它画的图和 `sd.draw(…)` 画的差多少：因为舍入差一两级、差得更多，还是分毫不差？

// %%
fn generate_simplified(sd: &Model, prompt: &str, steps: usize, guidance_scale: f64, seed: u64) -> Result<Picture> {
    // 1. The texts: the empty one, and the prompt.
    let text = sd.text_embeddings(&["", prompt])?;

    // 2. The noise to begin with.
    let mut scheduler = sd.scheduler("ddim", steps)?;
    let mut latents = sd.noise(seed) * scheduler.init_noise_sigma();

    // 3. The loop: predict the noise, guide, take a little away.
    for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate() {
        let input = scheduler.scale_model_input(&latents, call)?.repeat([2, 1, 1, 1]);
        let predicted = sd.predict_noise(&input, timestep, &text)?;
        let (without, with) = (predicted.narrow(0, 0, 1), predicted.narrow(0, 1, 1));
        let noise = &without + guidance_scale * (&with - &without);
        latents = scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample;
    }

    // 4. From latents to pixels.
    sd.decode(&latents)
}

generate_simplified(&sd, prompt, steps, guidance_scale, seed)?

// %%
for seed in [1, 2, 7] {
    let ours = generate_simplified(&sd, prompt, steps, guidance_scale, seed)?;
    let drawing = sd.draw(prompt).steps(steps).guidance_scale(guidance_scale).scheduler("ddim").seed(seed);
    let apart = ours.difference(&drawing.decode(Decode::Final).run()?.image()?);
    println!("seed {seed}: {apart} levels apart");
    assert_eq!(apart, 0.0);
}

// %% [markdown] lang="en"
// Not at all. **Why?** Because there is no more to it. The library checks, records and reports, but what it computes is these lines.
//
// ## Exercises
//
// 1. Put the lines of the loop in order: (a) take a step; (b) combine the two predictions; (c) repeat the latents for the two texts; (d) ask the UNet. Which of them would you leave out at guidance scale 1, and what would that save?
// 2. Change the function so that guidance is on only in the first ten steps: `let scale = if call < 10 { guidance_scale } else { 1.0 };`. Predict first: will the apple still be there?
// 3. Begin with half of the noise: `sd.noise(seed) * 0.5`. What comes out, and why?
// 4. Give the function a negative prompt. It takes one argument and one word.
//
// <details><summary>Answers</summary>
//
// 1. c, d, b, a. At scale 1 the formula gives the prediction with the prompt: b falls away, and c with it, and the UNet has half the work.
// 2. It is there, in the same place and as red; leaf and highlight look a little different (for seed 1 about 7 levels away from the full one; an example). What it is and where was settled in the first steps.
// 3. For seeds 1 and 2 an apple still, but a smoother one: its highlight is gone (an example). The timesteps tell the UNet of more noise than there is; part of what it takes away is then picture.
// 4. `sd.text_embeddings(&[negative_prompt, prompt])?`. Here are 2, 3 and 4 in one:
//
//    {answer 4}
//
// </details>

// %% [markdown] lang="zh"
// **为什么**分毫不差？因为本来就没有别的了。程序库会检查、记录、报告，但它算的就是这几行。
//
// ## 练习
//
// 1. 把循环里的几行排好顺序：(a) 走一步；(b) 合并两个预测；(c) 为两段文本复制潜变量；(d) 问 UNet。引导系数为 1 时哪些可以省掉？能省多少？
// 2. 改一改函数，只在前十步用引导：`let scale = if call < 10 { guidance_scale } else { 1.0 };`。先猜：苹果还在吗？
// 3. 只用一半的噪声开始：`sd.noise(seed) * 0.5`。画出来的是什么？为什么？
// 4. 给函数加上负向提示词。只要多一个参数、改一个词。
//
// <details><summary>参考答案</summary>
//
// 1. c、d、b、a。系数为 1 时，公式给出的就是带提示词的预测：b 可以省，c 也跟着省，UNet 的工作量减半。
// 2. 还在，位置没变，也一样红；只是叶子和高光略有不同（种子 1 的图和完整的那张差大约 7 级；这只是一个例子）。是什么、在哪里，前几步就定下来了。
// 3. 种子 1 和 2 画出的还是苹果，只是更平：高光没有了（这只是一个例子）。时间步告诉 UNet 的噪声比实际的多，它去掉的就有一部分是画面。
// 4. `sd.text_embeddings(&[negative_prompt, prompt])?`。下面把 2、3、4 写在一起：
//
//    {answer 4}
//
// </details>

// %% answer="4"
fn generate(sd: &Model, prompt: &str, negative_prompt: &str, noise: &Tensor, guided_calls: usize) -> Result<Picture> {
    let text = sd.text_embeddings(&[negative_prompt, prompt])?;
    let mut scheduler = sd.scheduler("ddim", 25)?;
    let mut latents = noise * scheduler.init_noise_sigma();
    for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate() {
        let predicted = sd.predict_noise(&latents.repeat([2, 1, 1, 1]), timestep, &text)?;
        let scale = if call < guided_calls { 5.0 } else { 1.0 };
        let noise = guided(&predicted.narrow(0, 0, 1), &predicted.narrow(0, 1, 1), scale)?;
        latents = scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample;
    }
    sd.decode(&latents)
}

let mut pictures = vec![];
for seed in [1, 2] {
    let whole = generate(&sd, prompt, "", &sd.noise(seed), 25)?;
    let guided_early = generate(&sd, prompt, "", &sd.noise(seed), 10)?;
    println!("seed {seed}: guided in the first ten steps only, {:.0} levels", guided_early.difference(&whole));
    pictures.extend([
        (format!("seed {seed}"), whole),
        ("ten steps guided".to_string(), guided_early),
        ("half of the noise".to_string(), generate(&sd, prompt, "", &(sd.noise(seed) * 0.5), 25)?),
        ("not blue".to_string(), generate(&sd, "a red apple", "blue background", &sd.noise(seed), 25)?),
    ]);
}
sheet_of(4, &pictures)

// %% [markdown] lang="en"
// ## In the shell
//
//     sdviz tokens "a red apple on a blue background"
//     sdviz trace --prompt "a red apple on a blue background" --seed 7 --scheduler ddim
//     sdviz shapes run           # the shapes of this lesson, from token ids to the picture
//     cargo run --example generate_simplified -- "a red apple on a blue background" apple.png
//
// ## In the chapter
//
// | there, in Python | here |
// |---|---|
// | `tokenizer(prompt, padding="max_length", max_length=77)` | `sd.tokens(prompt)?` |
// | `text_encoder(ids)[0]`, `torch.cat([uncond_embeddings, text_embeddings])` | `sd.text_embeddings(&["", prompt])?` |
// | `torch.randn((1, 4, height // 8, width // 8), generator=generator)` | `sd.noise(seed)` |
// | `scheduler.set_timesteps(25)`, `scheduler.timesteps` | `sd.scheduler("ddim", 25)?`, `scheduler.timesteps()` |
// | `torch.cat([latents] * 2)`, `unet(latents, t, encoder_hidden_states=…).sample` | `latents.repeat([2, 1, 1, 1])`, `sd.predict_noise(&input, t, &text)?` |
// | `noise_pred_uncond + guidance_scale * (noise_pred_text - noise_pred_uncond)` | the same |
// | `scheduler.step(noise_pred, t, latents).prev_sample` | `scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample` |
// | `vae.decode(latents / 0.18215).sample` | `sd.decode(&latents)?` |
// | `generate_simplified(…)` | `generate_simplified(…)` |

// %% [markdown] lang="zh"
// ## 在命令行里
//
//     sdviz tokens "a red apple on a blue background"
//     sdviz trace --prompt "a red apple on a blue background" --seed 7 --scheduler ddim
//     sdviz shapes run           # 这一课的各个形状，从词元编号到图
//     cargo run --example generate_simplified -- "a red apple on a blue background" apple.png
//
// ## 对照原书
//
// | 书里的 Python | 这里 |
// |---|---|
// | `tokenizer(prompt, padding="max_length", max_length=77)` | `sd.tokens(prompt)?` |
// | `text_encoder(ids)[0]`，`torch.cat([uncond_embeddings, text_embeddings])` | `sd.text_embeddings(&["", prompt])?` |
// | `torch.randn((1, 4, height // 8, width // 8), generator=generator)` | `sd.noise(seed)` |
// | `scheduler.set_timesteps(25)`，`scheduler.timesteps` | `sd.scheduler("ddim", 25)?`，`scheduler.timesteps()` |
// | `torch.cat([latents] * 2)`，`unet(latents, t, encoder_hidden_states=…).sample` | `latents.repeat([2, 1, 1, 1])`，`sd.predict_noise(&input, t, &text)?` |
// | `noise_pred_uncond + guidance_scale * (noise_pred_text - noise_pred_uncond)` | 一样 |
// | `scheduler.step(noise_pred, t, latents).prev_sample` | `scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample` |
// | `vae.decode(latents / 0.18215).sample` | `sd.decode(&latents)?` |
// | `generate_simplified(…)` | `generate_simplified(…)` |
