// %% [markdown] lang="en"
// # Latents
//
// You will be able to
//
// - say what the model really works on, how large it is, and why;
// - look at its four **channels**, alone and three at a time as red, green and blue;
// - turn a picture into latents and back, and say what is lost;
// - preview a picture from its latents without any network, and **grade** the preview.

// %% [markdown] lang="zh"
// # 潜变量
//
// 你将学会：
//
// - 说清楚模型真正处理的是什么、有多大、为什么；
// - 查看它的四个**通道**：单独看，或者任选三个当作红、绿、蓝来看；
// - 把图变成潜变量再变回来，并说出丢了什么；
// - 不用任何网络，直接从潜变量预览画面，并给这个预览**打分**。

// %%
use sdviz::prelude::*;
let sd = Model::load("pocket")?;
let run = sd.draw("a red apple on a blue background").seed(7).record(All).run()?;

// %% [markdown] lang="en"
// ## How large is what it works on?
//
// The picture has 128×128 pixels with three colours each, 49,152 numbers. The loop never touches them. It works on **latents**, and only at the very end a network, the **decoder**, makes pixels of those.
//
// **Predict:** how many numbers are the latents? As many, a quarter, fewer?

// %% [markdown] lang="zh"
// ## 它处理的东西有多大？
//
// 这张图有 128×128 个像素，每个像素三种颜色，一共 49,152 个数。循环从头到尾都没有碰过它们。循环处理的是**潜变量**；直到最后，才由一个叫**解码器**的网络把潜变量变成像素。
//
// **先猜一猜：**潜变量有多少个数？一样多、四分之一，还是更少？

// %%
let start = run.latents(0)?;
let end = run.latents(25)?;
println!("start {:?}, end {:?}: {} numbers", start.shape(), end.shape(), end.array().len());
assert_eq!(end.array().len() * 48, 128 * 128 * 3);

// %% [markdown] lang="en"
// A forty-eighth. The shape reads: 1 picture, 4 **channels**, 16 rows, 16 columns. Each place of the 16×16 stands for a square of 8×8 pixels and says in four numbers what the 192 numbers of those pixels say.
//
// **With Stable Diffusion:** the same factor. 512×512 pixels are latents of [1, 4, 64, 64].

// %% [markdown] lang="zh"
// 只有四十八分之一。这个形状读作：1 张图、4 个**通道**、16 行、16 列。16×16 里的每个位置对应 8×8 个像素的一小块，用四个数概括那一块里 192 个数的内容。
//
// **换成 Stable Diffusion：**倍数一样。512×512 像素对应的潜变量是 [1, 4, 64, 64]。

// %% [markdown] lang="en"
// ## The four channels
//
// A channel is a small grey picture. **Predict:** at the end, what will the four channels of the apple look like: noise, an apple, parts of an apple? And at the start?

// %% [markdown] lang="zh"
// ## 四个通道
//
// 一个通道就是一张灰度小图。**先猜一猜：**到了终点，苹果的四个通道会是什么样子：噪声、苹果，还是苹果的某些部分？起点呢？

// %%
end

// %%
start

// %% [markdown] lang="en"
// At the end each channel shows the apple in its place, in its own way: one is bright where another is dark. The latents are a picture, small and in colours that have no names.
//
// At the start they are noise, because that is what they are made of: random numbers of mean 0 and standard deviation 1, each place without regard to its neighbours. Here the same as numbers: how alike are a place and the one to its right? 1 is always, 0 not at all. (It is their correlation; you need not read the function.)

// %% [markdown] lang="zh"
// 到了终点，每个通道都在原来的位置上显出苹果，只是各有各的方式：一个通道亮的地方，另一个可能是暗的。潜变量也是一张图，小小的，用的是没有名字的颜色。
//
// 起点是噪声，因为它就是这么做出来的：均值为 0、标准差为 1 的随机数，各个位置互不相干。下面用数字来说：一个位置和它右边的位置有多像？1 表示完全一致，0 表示毫无关系。（这就是相关系数；函数本身不必细看。）

// %%
fn likeness_of_neighbours(latents: &Latents) -> f64 {
    let array = latents.array();
    let (left, right) = (array.slice(s![.., .., .., ..-1]), array.slice(s![.., .., .., 1..]));
    let of_channel = |channel: usize| {
        let (a, b) = (left.index_axis(Axis(1), channel), right.index_axis(Axis(1), channel));
        let (mean_a, mean_b) = (a.mean().unwrap_or(0.0), b.mean().unwrap_or(0.0));
        let (a, b) = (a.mapv(|x| x - mean_a), b.mapv(|x| x - mean_b));
        f64::from((&a * &b).sum() / ((&a * &a).sum() * (&b * &b).sum()).sqrt())
    };
    (0..4).map(of_channel).sum::<f64>() / 4.0
}

// %%
for seed in 1..=4 {
    let run = sd.draw("a red apple on a blue background").seed(seed).decode(Decode::Final).run()?;
    let (start, end) = (run.latents(0)?, run.latents(25)?);
    println!(
        "seed {seed}: start mean {:5.2}, standard deviation {:.2}, neighbours {:5.2}; end neighbours {:.2}",
        start.mean(), start.std(), likeness_of_neighbours(&start), likeness_of_neighbours(&end),
    );
    assert!(start.mean().abs() < 0.1 && (start.std() - 1.0).abs() < 0.1);
    assert!(likeness_of_neighbours(&start).abs() < 0.2 && likeness_of_neighbours(&end) > 0.5);
}

// %% [markdown] lang="en"
// ## Three of four as red, green and blue
//
// A screen has three colours, the latents have four channels. Take any three. Which three, and which of them is red, is arbitrary: there are 24 ways.

// %% [markdown] lang="zh"
// ## 四选三，当作红绿蓝
//
// 屏幕只有三种颜色，潜变量却有四个通道。那就任选三个。选哪三个、谁当红色，都是随意的：一共 24 种选法。

// %%
let mut choices = Vec::new();
for channels in [[0, 1, 2], [0, 1, 3], [1, 2, 3], [3, 1, 0]] {
    choices.push((format!("{channels:?}"), end.rgb(channels)?));
}
sheet(&choices)

// %%
run.video("latents")?.channels([0, 1, 3]).fps(5.0)

// %% [markdown] lang="en"
// The colours are false, the shapes are true. **Why** do the first frames look like noise, and why so long? At the start the noise is twelve times as strong as what there is of a picture, and each step takes away only a part of what is left: the two are equally strong only after step 15 of 25. The apple is in there early (lesson 3 showed what the model expects); the noise on top of it is stronger.

// %% [markdown] lang="zh"
// 颜色是假的，形状是真的。**为什么**开头的画面像噪声，而且要持续那么久？因为开始时噪声的强度是画面的十二倍，而每一步只去掉剩余噪声的一部分：25 步里走过第 15 步，两者才一样强。苹果早就在里面了（第 3 课看过模型心里想的图），只是上面盖着的噪声更强，把它淹没了。

// %% [markdown] lang="en"
// ## Back and forth
//
// The network between pictures and latents is an **autoencoder** (a VAE), trained to squeeze a picture through those few numbers and get it back. **Encode** goes one way, **decode** the other.
//
// **Predict:** encode the finished apple, decode that. The same picture, bit for bit?
//
// (The 1 in `encode(&picture, 1)` is a seed: the encoder leaves a little to chance, lesson 6 says why. The second cell measures in decibels, dB, too: the higher, the more alike, and 6 more mean half the error.)

// %% [markdown] lang="zh"
// ## 去而复返
//
// 在图和潜变量之间来回转换的网络叫**自编码器**（VAE）：训练的目标，就是把图压缩成这么少的几个数，再还原出来。**编码**是一个方向，**解码**是另一个方向。
//
// **先猜一猜：**把画好的苹果编码，再解码。会得到一模一样的图吗？
//
// （`encode(&picture, 1)` 里的 1 是种子：编码器留了一点点随机，原因见第 6 课。第二个单元格还用分贝 dB 来量：数越大越像，多 6 分贝，误差就减半。）

// %%
let picture = run.image()?;
let encoded = sd.encode(&picture, 1)?;
let back = sd.decode(&encoded)?;
sheet(&[("before", &picture), ("after", &back)])

// %%
for seed in 1..=4 {
    let picture = sd.draw("a ladybug on a white background").seed(seed).decode(Decode::Final).run()?.image()?;
    let back = sd.decode(&sd.encode(&picture, 1)?)?;
    println!("seed {seed}: {:.1} levels apart, {:.1} dB", picture.difference(&back), picture.psnr(&back));
    assert!(picture.difference(&back) > 0.0 && picture.psnr(&back) > 25.0);
}

// %% [markdown] lang="en"
// Nearly. What is lost is what 4 numbers cannot hold of 192: the finest detail. No number of steps brings back what the decoder cannot draw, which is one reason why letters and small faces are hard for such models.

// %% [markdown] lang="zh"
// 差不多，但不完全一样。丢掉的，是 4 个数装不下的那部分细节（原来有 192 个数）。解码器画不出来的东西，走多少步也补不回来，这类模型画文字和小脸总是很吃力，这是原因之一。

// %% [markdown] lang="en"
// ## A preview without a decoder
//
// Suppose each colour of a pixel were a weighted sum of the four channels at its place: red = a·c₀ + b·c₁ + c·c₂ + d·c₃ + e, where c₀ to c₃ are the channels and a to e five numbers to be found; and so for green and blue. That is a **linear map**, fifteen numbers instead of the decoder's 1.7 million. The run's own latents and decoded pictures say which fifteen fit best (least squares).
//
// **Predict:** how good can that be? Give it a mark between 0 (no better than the mean colour everywhere) and 1 (perfect), on the very pictures that it was fitted to.

// %% [markdown] lang="zh"
// ## 不用解码器的预览
//
// 假设每个像素的每种颜色，都只是该处四个通道的加权和：红 = a·c₀ + b·c₁ + c·c₂ + d·c₃ + e，其中 c₀ 到 c₃ 是四个通道，a 到 e 是五个待定的数；绿和蓝也一样。这叫**线性映射**：十五个数，代替解码器的 170 万个参数。哪十五个数最合适，用这次运行自己的潜变量和解码图就能算出来（最小二乘法）。
//
// **先猜一猜：**这样能有多好？在 0（不比到处涂平均色更好）到 1（完美）之间打个分；评分用的就是拟合时用的那几张图。

// %%
let preview = run.preview()?;
preview

// %%
println!("{}", preview.map());
println!("R² = {:.3}", preview.r2());

// %% [markdown] lang="en"
// The mark, R², says which share of the colours' variation the map explains, once each square of 8×8 pixels is averaged to one colour. It is about four fifths for every seed tried, from noise to picture: at this coarse scale a weighted sum does most of what the decoder does. The rest of the decoder's work is the other fifth, and all detail within the squares, which this mark leaves out.

// %% [markdown] lang="zh"
// 这个分数叫 R²：先把每个 8×8 像素的小块平均成一种颜色，再看线性映射解释了颜色变化的多大一部分。试过的每个种子，从噪声到成品合起来，都在五分之四左右：在这么粗的尺度上，加权求和已经做完了解码器的大部分工作。解码器剩下的功夫，一是其余那五分之一左右，二是小块内部的全部细节，这个分数没有把细节算进去。

// %%
for seed in 1..=4 {
    let r2 = sd.draw("a red apple on a blue background").seed(seed).decode(Every(5)).run()?.preview()?.r2();
    println!("seed {seed}: R² = {r2:.3}");
    assert!(r2 > 0.75);
}

// %% [markdown] lang="en"
// **With Stable Diffusion:** programs that show a picture while it is being drawn mostly use such a map, because decoding every step would take about as long as the steps themselves. Theirs is fitted on many pictures. It then belongs to the autoencoder: it serves all models that have this one, and no other.
//
// ## Exercises
//
// 1. Which channel is most like the picture's brightness? Look at `end.channel(0)` to `end.channel(3)` beside `run.image()?`, then at the map's rows.
// 2. Fit a map on the apple, and draw another run's latents with it: `preview.map().paint(other.latents(25)?.array().index_axis(Axis(0), 0))?`, made a `Picture` by `Picture::from`. Why does it do worse for a banana on purple?
// 3. `sd.decode(&sd.noise(1))?`: what does the decoder make of noise? Predict first: noise?
//
// <details><summary>Answers</summary>
//
// 1. A row of the map with three numbers of like size and sign is a channel that adds to red, green and blue together: brightness, or its opposite. In this run only the row of channel 2 has one sign, and its numbers are small: from red on blue alone the map cannot tell what is brightness and what is colour. Fitted on a panda on a black background (seed 1, an example), the rows of channels 0, 1 and 2 have one sign each.
//
//    {answer 1}
//
// 2. The map has seen red, blue and little green. What it says of other colours is a guess along a straight line.
//
//    {answer 2}
//
// 3. Blotches of colour, some pixels wide: each place of noise becomes a square of 8×8 pixels, and the decoder never learned to draw noise as small as a pixel.
//
//    {answer 3}
//
// </details>

// %% [markdown] lang="zh"
// **换成 Stable Diffusion：**那些边画边显示的程序，大多用的就是这种映射，因为每一步都解码的话，花的时间和走那些步差不多。它们的映射是用许多图拟合出来的，系数只取决于自编码器：用同一个自编码器的模型都适用，换一个自编码器就不行了。
//
// ## 练习
//
// 1. 哪个通道最像画面的明暗？把 `end.channel(0)` 到 `end.channel(3)` 和 `run.image()?` 放在一起看，再看映射的各行。
// 2. 用苹果那次运行拟合出映射，拿它去画另一次运行的潜变量：`preview.map().paint(other.latents(25)?.array().index_axis(Axis(0), 0))?`，再用 `Picture::from` 变成 `Picture`。为什么画紫底的香蕉时就差了？
// 3. `sd.decode(&sd.noise(1))?`：解码器会把噪声变成什么？先猜：还是噪声吗？
//
// <details><summary>参考答案</summary>
//
// 1. 如果映射的某一行三个数大小、正负都差不多，那个通道就同时加在红、绿、蓝上：它就是明暗，或者明暗的反面。这次运行里只有通道 2 那一行三个数同号，而且都很小：只看蓝底红苹果，映射分不清哪些是明暗、哪些是颜色。换成用黑底熊猫（种子 1，只是一个例子）来拟合，通道 0、1、2 这三行就各自同号。
//
//    {answer 1}
//
// 2. 这个映射只见过红和蓝，几乎没见过绿。对别的颜色，它只能沿着直线往外猜。
//
//    {answer 2}
//
// 3. 是一块块几个像素宽的色斑：噪声的每个位置都变成 8×8 像素的一块，而解码器从来没学过画像素那么细的噪声。
//
//    {answer 3}
//
// </details>

// %% answer="1"
let mut looks = vec![("picture".to_string(), run.image()?)];
for channel in 0..4 {
    looks.push((format!("channel {channel}"), end.channel(channel)));
}
println!("{}", preview.map());
sheet(&looks)

// %% answer="2"
let other = sd.draw("a banana on a purple background").seed(7).run()?;
let decoded = other.image()?;
let latents = other.latents(25)?;
let paint = |fitted_on: &Run| Ok::<Picture, Error>(fitted_on.preview()?.map().paint(latents.array().index_axis(Axis(0), 0))?.into());
let (with_the_apples, with_its_own) = (paint(&run)?, paint(&other)?);
// Each square of 8×8 pixels as one pixel.
let small = Picture::from_fn(16, 16, |x, y| decoded.crop(8 * x, 8 * y, 8, 8).mean_colour().map(|level| level as u8));
assert!(with_the_apples.difference(&small) > with_its_own.difference(&small));
sheet(&[("decoded", &decoded), ("the apple's map", &with_the_apples), ("its own map", &with_its_own)])

// %% answer="3"
let noise = sd.noise(1);
sheet(&[("one channel", Latents::from_tensor(&noise)?.channel(0)), ("decoded", sd.decode(&noise)?)])

// %% [markdown] lang="en"
// ## In the shell
//
//     sdviz trace --prompt "a red apple on a blue background" --seed 7
//     sdviz shapes run                        # every shape on the way
//     sdviz latents run --channels 0,1,3      # three of four as RGB, an animation
//     sdviz latents run --sheet               # the four channels, and all 24 ways
//     sdviz preview run                       # the linear map, and its grade step by step
//
// ## In the chapter
//
// | there, in Python | here |
// |---|---|
// | `latents_reservoir[-1].shape` | `run.latents(25)?.shape()` |
// | `class Chan2RGB`, which shows three of the four channels as RGB | `latents.rgb([0, 1, 2])?`, `run.video("latents")?.channels([0, 1, 2])` |
// | `media.show_video([chan2rgb(x) for x in latents_reservoir], fps=5)` | `run.video("latents")?.channels([0, 1, 3]).fps(5.0)` |
// | `pipe.vae.encode(x).latent_dist.sample() * 0.18215` | `sd.encode(&picture, seed)?` |
// | `pipe.vae.decode(latents / 0.18215).sample` | `sd.decode(&latents)?` |

// %% [markdown] lang="zh"
// ## 在命令行里
//
//     sdviz trace --prompt "a red apple on a blue background" --seed 7
//     sdviz shapes run                        # 一路上每个张量的形状
//     sdviz latents run --channels 0,1,3      # 四选三当作 RGB，做成动画
//     sdviz latents run --sheet               # 四个通道，以及全部 24 种选法
//     sdviz preview run                       # 线性映射，以及每一步的分数
//
// ## 对照原书
//
// | 书里的 Python | 这里 |
// |---|---|
// | `latents_reservoir[-1].shape` | `run.latents(25)?.shape()` |
// | `class Chan2RGB`，把四个通道中的三个显示成 RGB | `latents.rgb([0, 1, 2])?`，`run.video("latents")?.channels([0, 1, 2])` |
// | `media.show_video([chan2rgb(x) for x in latents_reservoir], fps=5)` | `run.video("latents")?.channels([0, 1, 3]).fps(5.0)` |
// | `pipe.vae.encode(x).latent_dist.sample() * 0.18215` | `sd.encode(&picture, seed)?` |
// | `pipe.vae.decode(latents / 0.18215).sample` | `sd.decode(&latents)?` |
