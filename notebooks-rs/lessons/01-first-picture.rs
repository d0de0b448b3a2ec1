// %% [markdown] lang="en"
// # First picture
//
// You will be able to
//
// - load a model and draw a picture from a **prompt**, the text that says what you want;
// - say where the chance in it comes from;
// - hold that chance still with a **seed**, and make the very same picture again.
//
// Run a cell with Shift+Enter. The first cells take a quarter of a minute, the others two seconds and what they compute: Rust compiles each before it runs.

// %% [markdown] lang="zh"
// # 第一张图
//
// 你将学会：
//
// - 加载模型，用一句**提示词**（描述你想要什么的文字）画出一张图；
// - 说清楚结果里的随机性从哪里来；
// - 用**随机种子**固定住这份随机，把同一张图一模一样地再画一遍。
//
// 按 Shift+Enter 运行单元格。开头的单元格要等十几秒，之后每个两秒左右，再加上计算本身的时间：Rust 会先编译，再运行。

// %%
use sdviz::prelude::*;

// %% [markdown] lang="en"
// ## The model
//
// A **model** is four things that work together: a text encoder that reads the prompt, a UNet that does the drawing, an autoencoder that turns the UNet's result into pixels, and the settings of a scheduler that says in which steps to go. Lessons 4 to 8 open them one by one. Today it is one box.
//
// `pocket` is a small model that comes with sdviz. It is built like Stable Diffusion 1.x, piece by piece, but has a hundredth of its size. It knows 48 things (an apple, a cat face, a rocket, …) on plain backgrounds in eight colours, and draws one in a second or two without a graphics card.

// %% [markdown] lang="zh"
// ## 模型
//
// 一个**模型**由四部分配合而成：读懂提示词的文本编码器、真正作画的 UNet、把 UNet 的结果变成像素的自编码器，以及规定一步一步怎么走的调度器设置。第 4 到第 8 课会逐个打开来看。今天先把它当作一个黑箱。
//
// `pocket` 是 sdviz 自带的小模型。它的结构和 Stable Diffusion 1.x 一样，一块不少，只是体积不到后者的百分之一。它认识 48 样东西（苹果、猫脸、火箭……），背景是八种纯色之一；没有显卡，一两秒也能画一张。

// %%
let sd = Model::load("pocket")?;
sd

// %% [markdown] lang="en"
// **With Stable Diffusion:** write the path of a folder instead, `Model::load("path/to/stable-diffusion-v1-5")`. Every cell of the course then runs on it, each picture taking minutes on a laptop's processor, and seconds on a graphics card.

// %% [markdown] lang="zh"
// **换成 Stable Diffusion：**把名字改成模型文件夹的路径，例如 `Model::load("path/to/stable-diffusion-v1-5")`。整门课的单元格都能照样运行；在笔记本电脑的处理器上，一张图要几分钟，在显卡上只要几秒。

// %% tags=["chance"]
let prompt = "a red apple on a blue background";
let first = sd.draw(prompt).run()?;
first.image()?

// %% [markdown] lang="en"
// ## Once more
//
// **Predict:** the next cell is the same line, word for word. Will the picture be the same? Decide before you run it.

// %% [markdown] lang="zh"
// ## 再来一次
//
// **先猜一猜：**下一个单元格和刚才那行一字不差。画出来的会是同一张图吗？想好了再运行。

// %% tags=["chance"]
let second = sd.draw(prompt).run()?;
sheet(&[("first", &first.image()?), ("second", &second.image()?)])

// %% tags=["chance"]
let apart = first.image()?.difference(&second.image()?);
assert!(apart > 1.0);
format!("a pixel differs by {apart:.0} of 255 levels, in the mean")

// %% [markdown] lang="en"
// **Why?** The model does not begin with an empty sheet. It begins with **noise**, a grid of random numbers, and takes the noise away step by step until a picture is left. Other noise, another picture. Nothing else in the run is random: the networks are fixed sums and products.
//
// Here is what the two runs began with.

// %% [markdown] lang="zh"
// **为什么？**模型不是从一张白纸开始的。它从**噪声**（一格一格的随机数）开始，一步一步把噪声去掉，剩下的就是图。噪声不同，图就不同。除此之外，整个过程没有任何随机：网络里只有固定的加法和乘法。
//
// 下面就是这两次各自的起点。

// %% tags=["chance"]
sheet(&[("first", &first.latents(0)?.channel(0)), ("second", &second.latents(0)?.channel(0))])

// %% [markdown] lang="en"
// ## Hold it still
//
// A computer's random numbers are computed, from a number called the **seed**. The same seed gives the same numbers.
//
// **Predict:** with one seed for both, how far apart will two pictures be: a little, because of rounding, or not at all? (`Decode::Final` means that only the finished picture is turned into pixels, which is quicker. Lesson 3 looks at the others.)

// %% [markdown] lang="zh"
// ## 把随机固定住
//
// 计算机里的随机数其实是算出来的，从一个叫**随机种子**的数算起。种子相同，随机数就相同。
//
// **先猜一猜：**两次用同一个种子，两张图会差多少？因为舍入误差差一点点，还是分毫不差？（`Decode::Final` 表示只把最后的成品变成像素，这样快一些。中间的那些，第 3 课再看。）

// %%
for seed in [7, 42, 1024] {
    let once = sd.draw(prompt).seed(seed).decode(Decode::Final).run()?;
    let again = sd.draw(prompt).seed(seed).decode(Decode::Final).run()?;
    let apart = once.image()?.difference(&again.image()?);
    println!("seed {seed}: {apart} levels apart");
    assert_eq!(apart, 0.0);
}

// %% [markdown] lang="en"
// Not at all. A run keeps a **record** of itself, and the seed stands in it, also when you gave none. So the very first picture of this lesson is not lost.

// %% [markdown] lang="zh"
// 分毫不差。每次运行都会留下一份**记录**，种子就写在里面，哪怕你没有指定过种子。所以这一课最开头那张图并没有丢。

// %%
let found_again = sd.draw(prompt).seed(first.seed()).run()?;
assert_eq!(first.image()?, found_again.image()?);

// %% [markdown] lang="en"
// ## What the seed decides, and what the prompt
//
// **Predict:** four seeds, one prompt. What will the four pictures share? Then four prompts, one seed: what will those share?

// %% [markdown] lang="zh"
// ## 种子管什么，提示词管什么
//
// **先猜一猜：**四个种子、同一句提示词，四张图有什么共同点？反过来，同一个种子、四句提示词，又有什么共同点？

// %%
let mut apples = Vec::new();
for seed in 1..=4 {
    apples.push((format!("seed {seed}"), sd.draw(prompt).seed(seed).decode(Decode::Final).run()?.image()?));
}
sheet(&apples)

// %%
let mut things = Vec::new();
for thing in ["a red apple", "a cat face", "a rocket", "a ladybug"] {
    let drawing = sd.draw(format!("{thing} on a blue background")).seed(1).decode(Decode::Final);
    things.push((thing.to_string(), drawing.run()?.image()?));
}
sheet(&things)

// %% [markdown] lang="en"
// The prompt decides what is there: all eight have a blue background, and the first four an apple. The seed decides what the prompt leaves open: which of the apples that the model has seen it is most like, how its leaves stand, where the light falls. This is checked here for the background; that the things are the right ones you see yourself.

// %% [markdown] lang="zh"
// 提示词决定画里有什么：八张图的背景都是蓝色，前四张都是苹果。提示词没有说的，由种子决定：更像它见过的哪一个苹果，叶子怎么长，光从哪里来。下面的单元格只检验背景；东西对不对，你一眼就能看出来。

// %%
for (name, picture) in apples.iter().chain(&things) {
    let [red, green, blue] = picture.crop(0, 0, 12, 12).mean_colour();
    println!("{name:<12} corner: red {red:.0}, green {green:.0}, blue {blue:.0}");
    assert!(blue > red && blue > green);
}

// %% [markdown] lang="en"
// And the proof that the noise depends on the seed alone: under one seed, an apple and a rocket begin with the same numbers.

// %% [markdown] lang="zh"
// 再来证明噪声只和种子有关：同一个种子下，苹果和火箭的起点是同一组数。

// %%
for seed in [1, 2, 3] {
    let apple = sd.draw("a red apple").seed(seed).steps(1).run()?;
    let rocket = sd.draw("a rocket").seed(seed).steps(1).run()?;
    assert_eq!(apple.latents(0)?.array(), rocket.latents(0)?.array());
}

// %% [markdown] lang="en"
// ## Keep it
//
// A saved picture carries how it was made: prompt, seed and all settings stand in the file, where sdviz and other programs find them.

// %% [markdown] lang="zh"
// ## 存下来
//
// 存下的图片自带“配方”：提示词、种子和全部设置都写在文件里，sdviz 和别的程序都读得出来。

// %% tags=["chance"]
let file = std::env::temp_dir().join("apple.png");
found_again.image()?.save(&file)?;
found_again.text()

// %% [markdown] lang="en"
// ## Exercises
//
// 1. Find another seed whose apple has two leaves, like that of seed 1. How many did you have to try?
// 2. Ask for something that `pocket` does not know: a unicorn. What comes, from three seeds?
// 3. Same prompt, same seed, but `.size(192, 128)`. Predict first: the same apple, wider?
//
// <details><summary>Answers</summary>
//
// 1. Draw a sheet as above over `5..=12` and look. `pocket` learned from four drawings of each thing, and comes near one or another of them by chance; nothing in the prompt says which.
// 2. `sd.draw("a unicorn on a white background").seed(seed)`: one of the 48 things that it does know, or a blob. A model has no way to say that it does not know a word.
// 3. Another picture. The noise has another shape, 16×24 places instead of 16×16, and so other numbers at each place. A seed means the same picture only at the same size.
//
// </details>

// %% [markdown] lang="zh"
// ## 练习
//
// 1. 种子 1 的苹果有两片叶子。再找一个也有两片叶子的种子。试了几个才找到？
// 2. 让 `pocket` 画它不认识的东西：独角兽（a unicorn）。换三个种子，画出来的是什么？
// 3. 提示词、种子都不变，只加上 `.size(192, 128)`。先猜：还是那个苹果，只是画面变宽了？
//
// <details><summary>参考答案</summary>
//
// 1. 像上面那样，对 `5..=12` 画一排，然后自己看。`pocket` 学画时，每样东西只见过四幅画；这次更像哪一幅，全凭随机，提示词里没有说。
// 2. `sd.draw("a unicorn on a white background").seed(seed)`：要么是它认识的 48 样东西之一，要么是一团说不清的东西。模型没有办法说“这个词我不认识”。
// 3. 是另一张图。噪声的形状变了，从 16×16 变成 16×24，每个位置上的数也就不同了。只有尺寸相同，同一个种子才意味着同一张图。
//
// </details>

// %% [markdown] lang="en"
// ## In the shell
//
//     sdviz trace --prompt "a red apple on a blue background" --seed 7
//     sdviz sweep --prompt "a red apple on a blue background" --seed 1-4
//
// The first writes a folder `run` with the whole record and `final.png`; the second makes one run a seed and a labelled sheet.
//
// ## In the chapter
//
// | there, in Python | here |
// |---|---|
// | `pipe = StableDiffusionPipeline.from_pretrained(…)` | `let sd = Model::load(…)?` |
// | `image = pipe(prompt).images[0]` | `sd.draw(prompt).run()?.image()?` |
// | `generator = torch.Generator("cpu").manual_seed(42)`, `pipe(prompt, generator=generator)` | `sd.draw(prompt).seed(42).run()?` |
// | `image.save("apple.png")` | `picture.save("apple.png")?` |
//
// With the same weights, the noise of a seed here is bit for bit that of `torch.Generator("cpu")`.

// %% [markdown] lang="zh"
// ## 在命令行里
//
//     sdviz trace --prompt "a red apple on a blue background" --seed 7
//     sdviz sweep --prompt "a red apple on a blue background" --seed 1-4
//
// 第一条命令会建一个 `run` 文件夹，里面是完整的记录和 `final.png`；第二条命令每个种子跑一次，再拼成一张带标签的网格图。
//
// ## 对照原书
//
// | 书里的 Python | 这里 |
// |---|---|
// | `pipe = StableDiffusionPipeline.from_pretrained(…)` | `let sd = Model::load(…)?` |
// | `image = pipe(prompt).images[0]` | `sd.draw(prompt).run()?.image()?` |
// | `generator = torch.Generator("cpu").manual_seed(42)`，`pipe(prompt, generator=generator)` | `sd.draw(prompt).seed(42).run()?` |
// | `image.save("apple.png")` | `picture.save("apple.png")?` |
//
// 权重相同时，同一个种子在这里产生的噪声和 `torch.Generator("cpu")` 的逐位相等。
