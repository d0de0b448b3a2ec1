// %% [markdown] lang="en"
// # The networks
//
// You will be able to
//
// - name the three networks, and say which of them is the large one;
// - follow a picture down and up through the **UNet**, and say what its **skip connections** are for;
// - show where in the UNet the text enters, and which places of the picture a word reaches;
// - say what the UNet was trained to do, and measure how well it does it.

// %% [markdown] lang="zh"
// # 网络
//
// 你将学会：
//
// - 说出三个网络各叫什么，哪一个最大；
// - 跟着一张图在 **UNet** 里走下去再走上来，说清楚**跳跃连接**有什么用；
// - 指出文本从 UNet 的哪里进来，一个词能影响画面的哪些位置；
// - 说出 UNet 是为做什么而训练的，并量一量它做得多好。

// %%
use sdviz::prelude::*;
let sd = Model::load("pocket")?;

// Only finished pictures are wanted here: no other step is decoded, which takes a quarter of the time.
fn draw(sd: &Model, prompt: &str, seed: u64) -> Drawing {
    sd.draw(prompt).seed(seed).decode(Decode::Final)
}

// %% [markdown] lang="en"
// ## Three networks
//
// What a network has learned stands in its **parameters** (or weights): numbers that training has found and that never change while you draw.
//
// **Predict:** text encoder, UNet, autoencoder (VAE). Which has the most parameters?

// %% [markdown] lang="zh"
// ## 三个网络
//
// 网络学到的东西都在它的**参数**（也叫权重）里：这些数是训练得来的，画图时从不改变。
//
// **先猜一猜：**文本编码器、UNet、自编码器（VAE），哪个的参数最多？

// %%
let parts = sd.parts()?;
let [text_encoder, unet, vae] = ["text_encoder", "unet", "vae"].map(|part| parts.parameters(part));
assert!(unet > text_encoder + vae);
parts

// %% [markdown] lang="en"
// The UNet has more than the others together, and it is the one that is called at every step. **With Stable Diffusion 1.x:** text encoder 123 million, UNet 860 million, autoencoder 84 million.
//
// ## Down and up
//
// The UNet is a row of **blocks**. On the way down each works at a smaller **resolution** than the one before, on more channels; on the way up it is the other way round.
//
// Each place in the model where a tensor arises has a name, its **site**, made of the parts it lies in: `unet.down_blocks.0` is the first block down. `sd.sites("unet.**")` lists the UNet's; `**` stands for any parts of a name, `*` for one.
//
// **Predict:** latents of 16×16 go in, and there are three blocks down. How large is the picture in the middle?

// %% [markdown] lang="zh"
// UNet 比另外两个加起来还多，而且每一步都要调用它。**换成 Stable Diffusion 1.x：**文本编码器 1.23 亿，UNet 8.6 亿，自编码器 0.84 亿。
//
// ## 走下去，走上来
//
// UNet 是一串**块**。往下走时，每一块的**分辨率**都比前一块低，通道比前一块多；往上走时正好反过来。
//
// 模型里每个产生张量的地方都有名字，叫**位点**，由它所在的各个部分连起来：`unet.down_blocks.0` 就是往下走的第一块。`sd.sites("unet.**")` 列出 UNet 的位点；`**` 代表名字里任意几段，`*` 代表一段。
//
// **先猜一猜：**进去的是 16×16 的潜变量，往下有三块。到了正中间，画面有多大？

// %%
let unet = sd.sites("unet.**")?;
let way = [
    "unet.sample", "unet.conv_in", "unet.down_blocks.0", "unet.down_blocks.1", "unet.down_blocks.2", "unet.mid_block",
    "unet.up_blocks.0", "unet.up_blocks.1", "unet.up_blocks.2", "unet.conv_out",
];
for row in unet.rows().iter().filter(|row| way.contains(&row.name.as_str())) {
    println!("{:<20} {:?}", row.name, row.shape);
}

// %% [markdown] lang="en"
// Each line is what leaves the block: two texts, so two rows (lesson 5), then channels, height, width. In the middle it is 4×4, each place of which stands for 32×32 pixels, in 160 channels. The third block down stays at 4×4; it is the last. **With Stable Diffusion:** four blocks, 64×64 down to 8×8, and 320 to 1280 channels.
//
// **Why** go down at all? A layer looks at a place and its neighbours. Far down, the neighbours are a quarter of the picture away: there a layer sees more of the picture at once. How much of what is drawn is decided there is another question, which lesson 11 asks.
//
// **Predict:** 4×4 places cannot know where exactly an edge runs. How does the way up know it? (`resnets.0` in the names is a block's first **ResNet block**: some layers that look at neighbours, whose result is added to what came in.)

// %% [markdown] lang="zh"
// 每一行是从那一块出来的形状：两段文本，所以有两份（第 5 课），然后是通道、高、宽。正中间是 4×4，每个位置对应 32×32 个像素，有 160 个通道。往下的第三块是最后一块，停在 4×4 不再缩小。**换成 Stable Diffusion：**一共四块，从 64×64 缩到 8×8，通道从 320 增加到 1280。
//
// **为什么**要往下走？一层网络只看一个位置和它的邻居。走到下面，邻居已经隔了四分之一个画面：在那里，一层能同时看到更大的范围。画什么有多少是在那里定的，则是另一个问题，留给第 11 课。
//
// **先猜一猜：**4×4 个位置不可能知道边缘的准确位置。往上走的时候，又是怎么知道的？（名字里的 `resnets.0` 是一块里的第一个 **ResNet 块**：几层看邻居的网络，结果再加到输入上。）

// %%
println!("{:<30} {:<20} {:<20} joined", "", "from below", "left on the way down");
for row in unet.rows().iter().filter(|row| row.name.ends_with(".skip")) {
    let block = row.name.trim_end_matches(".skip");
    let shape = |end: &str| unet.of(&format!("{block}.{end}")).unwrap_or_default();
    let (below, left, joined) = (shape("backbone"), shape("skip"), shape("in"));
    println!("{:<30} {:<20} {:<20} {joined:?}", block, format!("{below:?}"), format!("{left:?}"));
    assert_eq!(below[1] + left[1], joined[1]);
    assert_eq!(below[2..], left[2..]);
}

// %% [markdown] lang="en"
// By **skip connections**. Each block on the way down leaves its results, and on the way up they are laid beside what comes from below: the numbers of channels add up. From the side comes where exactly things are. (Lesson 10 cuts either, to see what happens.)
//
// ## What reaches what
//
// **Predict:** change one number of the 1,024 latents. How many of the 1,024 predictions change: one, those near it, all? (We ask at timestep 481, half-way through a run.)

// %% [markdown] lang="zh"
// 靠**跳跃连接**。往下走时，每一块都留下自己的结果；往上走时，这些结果和下面上来的东西并排放在一起：通道数相加。下面来的说“是什么”，旁边来的说“在哪里”。（第 10 课会把它们剪断，看看会怎样。）
//
// ## 什么能影响什么
//
// **先猜一猜：**1,024 个潜变量里只改一个数。1,024 个预测里有多少会变：一个、附近的几个，还是全部？（问的时候用时间步 481，大约在一次运行的半路。）

// %%
let text = sd.text_embeddings(&["a red apple on a blue background"])?;
let (row, column) = (4, 11);
let mut reached = vec![];
for seed in [1, 2, 3] {
    let latents = sd.noise(seed);
    let touched = latents.copy();
    let _ = touched.narrow(2, row, 1).narrow(3, column, 1).narrow(1, 0, 1).fill_(3.0);
    let change = (sd.predict_noise(&touched, 481.0, &text)? - sd.predict_noise(&latents, 481.0, &text)?).abs();
    // Over the four channels: [16, 16].
    let change = change.amax([0, 1], false);
    let (least, most) = (change.min().double_value(&[]), change.max().double_value(&[]));
    assert!(least > 0.0);
    assert_eq!(change.flatten(0, 1).argmax(None, false).int64_value(&[]), 16 * row + column);
    reached.push((format!("seed {seed}: {least:.4} to {most:.1}"), Picture::map(&change.log())?.magnified(8)));
}
sheet(&reached)

// %% [markdown] lang="en"
// All of them, and most of all the place itself. (The map is dark where the prediction changed least and bright where it changed most; the two numbers above it say by how much. It shows the logarithm, or you would see but one dot.) **Why?** Near by through the layers that look at neighbours; far away through **attention**, a layer in which every place looks at every other and takes from those that matter to it (self-attention, `attn1` in the names), through the small middle, and through the layers that bring all numbers to one size.
//
// ## Where the text enters
//
// There is a second kind of attention, **cross-attention**: each place looks at the 77 tokens of the prompt. Here is one such layer. It looks several times side by side, each time with its own share of the numbers; each of these is called a **head**.

// %% [markdown] lang="zh"
// 全部都变，而变得最多的是那个位置自己。（图中最暗处预测变得最少，最亮处变得最多，上面的两个数就是这两处变了多少；画的是对数，不然你只看得见一个点。）**为什么？**附近靠的是看邻居的那些层；远处靠的是**注意力**：在这种层里，每个位置都看所有别的位置，再从对自己有用的位置取来信息（也叫自注意力，名字里写作 `attn1`）；还靠小小的中间块，以及把所有的数归到同一大小的那些层。
//
// ## 文本从哪里进来
//
// 还有第二种注意力，叫**交叉注意力**：每个位置看的是提示词的 77 个词元。下面是其中一层。它并排看好几遍，每一遍只用一部分数，这样的一遍叫一个**头**（head）。

// %%
let attention = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2";
for (inside, meaning) in [
    ("to_q", "what each of the 256 places asks"),
    ("context", "the text embeddings"),
    ("to_k", "what each of the 77 tokens answers to"),
    ("to_v", "what each token has to say"),
    ("probs", "how far each place listens to each token, in 4 heads"),
] {
    let shape = unet.of(&format!("{attention}.{inside}")).unwrap_or_default();
    println!("{inside:<8} {:<18} {meaning}", format!("{shape:?}"));
}
let entrances = unet.rows().iter().filter(|row| row.name.ends_with(".attn2.context")).count();
println!("the text enters the UNet at {entrances} places");

// %% [markdown] lang="en"
// The text goes nowhere else. So a word can only do what these layers let it do, place by place. **With Stable Diffusion:** 16 such places, with 8 heads each.
//
// **Predict:** put noise on a finished apple, as much as there is before the seventh of 25 steps (lesson 6), and ask the UNet twice about it: "… on a *blue* background" and "… on a *green* background". At which places do the two predictions differ? And for "a *banana* on a blue background"?

// %% [markdown] lang="zh"
// 除此之外，文本再没有别的入口。所以一个词能做什么，全看这些层在每个位置上让它做什么。**换成 Stable Diffusion：**这样的入口有 16 处，各有 8 个头。
//
// **先猜一猜：**给一个画好的苹果盖上噪声，盖到 25 步里第七步之前那么多（第 6 课），拿它问 UNet 两次：一次是“… on a *blue* background”，一次是“… on a *green* background”。两个预测在哪些位置上不同？换成“a *banana* on a blue background”呢？

// %%
let prompt = "a red apple on a blue background";
let others = ["a red apple on a green background", "a banana on a blue background"];
let scheduler = sd.scheduler("ddim", 25)?;
let mut maps = vec![];
for seed in [1, 2, 3] {
    let picture = draw(&sd, prompt, seed).run()?.image()?;
    let noised = scheduler.add_noise(&sd.encode(&picture, 10)?, &sd.noise(100 + seed), 6)?.repeat([2, 1, 1, 1]);
    maps.push((format!("seed {seed}"), picture));
    for other in others {
        let predicted = sd.predict_noise(&noised, scheduler.timesteps()[6], &sd.text_embeddings(&[prompt, other])?)?;
        let apart = (predicted.get(0) - predicted.get(1)).square().sum_dim_intlist([0_i64].as_slice(), false, Kind::Float).sqrt();
        let mean = |tensor: &Tensor| tensor.mean(Kind::Float).double_value(&[]);
        let (top, middle) = (mean(&apart.narrow(0, 0, 1)), mean(&apart.narrow(0, 5, 6).narrow(1, 5, 6)));
        println!("seed {seed}, {other}: {top:.3} in the top row, {middle:.3} in the middle");
        let background = other.contains("green");
        assert!(if background { top > 2.0 * middle } else { middle > 2.0 * top });
        let name = if background { "green for blue" } else { "banana for apple" };
        let (least, most) = (apart.min().double_value(&[]), apart.max().double_value(&[]));
        maps.push((format!("{name}: {least:.2} to {most:.2}"), Picture::map(&apart)?.magnified(8)));
    }
}
sheet_of(3, &maps)

// %% [markdown] lang="en"
// A word about the background changes the prediction in the background, a word about the thing changes it where the thing will be, and this where a person sees hardly more than noise. (Each map goes from dark, its least change, to bright, its greatest; the two numbers above it say how much that is.) No one told the network where the apple is: its places listen to the tokens that concern them.
//
// **With Stable Diffusion** the same holds, less cleanly: its words stand for more than one region, and "apple" has a say about the table, too.
//
// ## What it was trained to do
//
// For training, a picture is encoded and noise is put on it, as much as a random timestep says (lesson 6). The UNet is shown the result, the timestep and the caption, and has to say what the noise was. One caption in ten is left away, so that it learns to answer without one, too: guidance (lesson 2) needs that. That is all. So we can examine it: here we know the noise.
//
// **Predict:** at which timesteps is its answer most wrong: where there is much noise, or little? And does a wrong caption harm more than none?

// %% [markdown] lang="zh"
// 描述背景的词，改变的是背景处的预测；描述物体的词，改变的是物体将要出现的地方。而这时候，人眼看到的几乎全是噪声。（每张图最暗处变得最少，最亮处变得最多，上面的两个数就是这两处变了多少。）没有人告诉网络苹果在哪里：每个位置只听和自己有关的词元。
//
// **换成 Stable Diffusion**也是这样，只是没有这么干净：它的一个词不只管一块地方，“apple” 也会影响到桌子。
//
// ## 它是为做什么而训练的
//
// 训练时，先把一张图编码，再按随机的时间步盖上相应多的噪声（第 6 课）。给 UNet 看结果、时间步和图的说明文字，让它说出噪声是什么。每十张图里有一张不给说明文字，它由此也学会了对着空文本回答：引导（第 2 课）靠的就是这个。就这些。所以我们可以考考它：这里的噪声我们是知道的。
//
// **先猜一猜：**在哪些时间步上它错得最多：噪声多的时候，还是少的时候？错的说明文字，会比没有更糟吗？

// %%
let texts = sd.text_embeddings(&[prompt, "", "a rocket on a black background"])?;
println!("how far its answer is from the noise, in percent of the noise");
println!("{:<8} {:>8} {:>14} {:>11} {:>14}", "", "timestep", "right caption", "no caption", "wrong caption");
for seed in [1, 2, 3] {
    let picture = draw(&sd, prompt, seed).run()?.image()?;
    let (encoded, noise) = (sd.encode(&picture, 10)?, sd.noise(100 + seed));
    let mut before = 0.0;
    for call in [0, 10, 20, 24] {
        let (noised, timestep) = (scheduler.add_noise(&encoded, &noise, call)?, scheduler.timesteps()[call]);
        let answers = sd.predict_noise(&noised.repeat([3, 1, 1, 1]), timestep, &texts)?;
        let wrong = |text: i64| 100.0 * ((answers.get(text) - noise.get(0)).norm() / noise.norm()).double_value(&[]);
        let (right_caption, none, wrong_caption) = (wrong(0), wrong(1), wrong(2));
        println!("seed {seed:<3} {timestep:>8} {right_caption:>14.1} {none:>11.1} {wrong_caption:>14.1}");
        assert!(before < right_caption && right_caption < none);
        assert!(if call < 24 { none < wrong_caption } else { wrong_caption < 1.1 * right_caption });
        before = right_caption;
    }
}

// %% [markdown] lang="en"
// Where there is little noise. **Why?** With much noise nearly all of what it sees is the answer. With little, it has to tell a faint grain from the surface of an apple. And in proportion the caption helps most where the picture cannot be seen. A wrong one is worse than none, for the network believes it; except at timestep 1, where it makes hardly a difference: there the picture lies open.
//
// This is all that a UNet can do: say what the noise is. That pictures come out when it is asked again and again was not trained into it; it follows.

// %% [markdown] lang="zh"
// 噪声少的时候。**为什么？**噪声多时，它看到的几乎全是答案。噪声少时，它得分辨哪些是细微的颗粒，哪些是苹果的表面。按比例算，画面看不清的时候，说明文字的帮助最大。错的比没有更糟，因为网络信了它；只有在时间步 1 上几乎没有差别：那里画面已经一目了然。
//
// UNet 会做的就是这一件事：说出噪声是什么。一遍一遍地问它，就会出来一张图；这并不是训练教给它的，而是自然得到的结果。

// %% [markdown] lang="en"
// ## Exercises
//
// 1. How many channels does the first ResNet block on the way up take in, and where do they come from? Read it off the table of skip connections.
// 2. List the autoencoder's decoder on its way up: `sd.sites("vae.decoder.up_blocks.*")?`. By how much does it enlarge, and how often?
// 3. Ask the UNet about pure noise with the wrong timestep: `sd.predict_noise(&sd.noise(1), 41.0, &text)?`. How far from the noise is its answer, and how far with 961?
// 4. `sd.text_embeddings(&["a red apple on a blue background", "a blue apple on a red background"])?` have the same words. Do they have the same rows in another order?
//
// <details><summary>Answers</summary>
//
// 1. 320: 160 from the middle, 160 left by the last block on the way down.
// 2. 16 to 32 to 64 to 128: three times by 2. The last block stays at 128.
//
//    {answer 2}
//
// 3. About 72 % with 41 and 6 % with 961 (seed 1; an example). It is told that there is next to no noise and takes much of what it sees for picture.
//
//    {answer 3}
//
// 4. No. Each row has read what stands before it and knows its own place, so "red" before "apple" and "red" before "background" are different rows.
//
//    {answer 4}
//
// </details>

// %% [markdown] lang="zh"
// ## 练习
//
// 1. 往上走的第一个 ResNet 块接收多少个通道？它们从哪里来？从跳跃连接的表里读出来。
// 2. 列出解码器往上走的路：`sd.sites("vae.decoder.up_blocks.*")?`。一共放大多少倍，分几次？
// 3. 用错误的时间步问 UNet 一份纯噪声：`sd.predict_noise(&sd.noise(1), 41.0, &text)?`。它的回答离噪声有多远？用 961 呢？
// 4. `sd.text_embeddings(&["a red apple on a blue background", "a blue apple on a red background"])?` 用的是同样的词。它们的行也相同、只是顺序不同吗？
//
// <details><summary>参考答案</summary>
//
// 1. 320 个：160 个来自中间块，160 个是往下走的最后一块留下的。
// 2. 从 16 到 32、64、128：三次，每次 2 倍。最后一块停在 128。
//
//    {answer 2}
//
// 3. 用 41 大约差 72 %，用 961 大约差 6 %（种子 1；这只是一个例子）。告诉它几乎没有噪声，它就把看到的很多东西当成了画面。
//
//    {answer 3}
//
// 4. 不是。每一行都读过前面的词，也知道自己的位置，所以 “apple” 前的 “red” 和 “background” 前的 “red” 是不同的两行。
//
//    {answer 4}
//
// </details>

// %% answer="2"
let blocks = sd.sites("vae.decoder.up_blocks.*")?;
let sides: Vec<i64> = blocks.rows().iter().map(|row| row.shape[2]).collect();
assert_eq!(sides, [32, 64, 128, 128]);
blocks

// %% answer="3"
for seed in [1, 2, 3] {
    let noise = sd.noise(seed);
    let far = |timestep| -> Result<f64> {
        let answer = sd.predict_noise(&noise, timestep, &text)?;
        Ok(100.0 * ((answer - &noise).norm() / noise.norm()).double_value(&[]))
    };
    let (told_little, told_much) = (far(41.0)?, far(961.0)?);
    println!("seed {seed}: {told_little:.0} % with 41, {told_much:.0} % with 961");
    assert!(told_little > 3.0 * told_much);
}

// %% answer="4"
let both = sd.text_embeddings(&["a red apple on a blue background", "a blue apple on a red background"])?;
// Token 0 begins the text, so "red" is the third token of the one and the seventh of the other.
let (before_apple, before_background) = (both.get(0).get(2), both.get(1).get(6));
assert!(!before_apple.allclose(&before_background, 1e-2, 1e-2, false));

// %% [markdown] lang="en"
// ## In the shell
//
//     sdviz inspect                # the parts, their parameters
//     sdviz inspect --depth 2      # the blocks, with their shapes
//     sdviz inspect --sites        # every site by its name
//     sdviz shapes run --full      # every tensor of a run
//
// ## In the chapter
//
// | there, in Python | here |
// |---|---|
// | `sum(p.numel() for p in pipe.unet.parameters())` | `sd.parts()?.parameters("unet")` |
// | `print(pipe.unet)` | `sd.sites("unet.**")?` |
// | a forward hook that prints `output.shape` | `sd.sites("unet.mid_block")?` |

// %% [markdown] lang="zh"
// ## 在命令行里
//
//     sdviz inspect                # 各个部分和参数量
//     sdviz inspect --depth 2      # 各个块和它们的形状
//     sdviz inspect --sites        # 每个位点的名字
//     sdviz shapes run --full      # 一次运行里的每个张量
//
// ## 对照原书
//
// | 书里的 Python | 这里 |
// |---|---|
// | `sum(p.numel() for p in pipe.unet.parameters())` | `sd.parts()?.parameters("unet")` |
// | `print(pipe.unet)` | `sd.sites("unet.**")?` |
// | 用 forward hook 打印 `output.shape` | `sd.sites("unet.mid_block")?` |
