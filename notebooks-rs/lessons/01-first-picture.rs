// %% [markdown] lang="en"
// # First picture
//
// You will be able to
//
// - load a model and draw a picture from a **prompt**, the text that says what you want;
// - say what the model begins with;
// - use a **seed**, and say what it decides and what the prompt decides.
//
// Run a cell with Shift+Enter. The first cells take a quarter of a minute, the others two seconds and what they compute: Rust compiles each before it runs.

// %% [markdown] lang="zh"
// # 第一张图
//
// 你将学会：
//
// - 加载模型，用一句**提示词**（描述你想要什么的文字）画出一张图；
// - 说清楚模型从什么开始画；
// - 使用**随机种子**，说清楚它管什么、提示词管什么。
//
// 按 Shift+Enter 运行单元格。开头几个单元格要等十几秒，之后每个两秒左右，再加上计算本身的时间：Rust 要先编译再运行。

// %%
use sdviz::prelude::*;

// %% [markdown] lang="en"
// ## The model
//
// A **model** is four things that work together: a text encoder that reads the prompt, a UNet that does the drawing, an autoencoder that turns the UNet's result into pixels, and the settings of a scheduler that says in which steps to go. Lessons 4 to 8 open them one by one. Today the model is one closed box.
//
// `pocket` is a small model that comes with sdviz. It is built like Stable Diffusion 1.x, piece by piece, but has a hundredth of its size. It knows 48 things (an apple, a cat face, a rocket, …) on plain backgrounds in eight colours, and draws one in a second or two without a graphics card.

// %% [markdown] lang="zh"
// ## 模型
//
// 一个**模型**由四部分配合而成：读懂提示词的文本编码器、真正作画的 UNet、把 UNet 的结果变成像素的自编码器，以及规定一步一步怎么走的调度器设置。第 4 到第 8 课会逐个打开来看。今天先把它当作一个黑箱。
//
// `pocket` 是 sdviz 自带的小模型。它的结构和 Stable Diffusion 1.x 一样，该有的部件一个不少，只是参数不到后者的百分之一。它认识 48 样东西（苹果、猫脸、火箭……），背景是八种纯色之一；没有显卡，一两秒也能画一张。

// %%
let sd = Model::load("pocket")?;
sd

// %% [markdown] lang="en"
// The line and the table say of what size the model is, and with which settings it draws unless you say otherwise. Lessons 5 to 8 come to each of them.
//
// **With Stable Diffusion:** write the path of a folder instead, `Model::load("path/to/stable-diffusion-v1-5")`. The calls stay the same. Each picture takes minutes on a laptop's processor, and seconds on a graphics card. Where a cell says 128 pixels or a 16×16 grid, say 512 and 64×64; an `assert!` about what pocket draws may then fail.

// %% [markdown] lang="zh"
// 上面的一行字和表格说的是模型有多大、你不指定时它用什么设置。第 5 到第 8 课会一一讲到。
//
// **换成 Stable Diffusion：**把名字改成模型文件夹的路径，例如 `Model::load("path/to/stable-diffusion-v1-5")`。所有调用都不变。在笔记本电脑的处理器上，一张图要几分钟，在显卡上只要几秒。单元格里写着 128 像素或 16×16 的地方，要换成 512 和 64×64；那些针对 pocket 画面的 `assert!`，这时可能不成立。

// %% tags=["chance"]
let prompt = "a red apple on a blue background";
let first = sd.draw(prompt).run()?;
first.image()?

// %% [markdown] lang="en"
// ## Once more
//
// **Predict:** the next cell is the same line, word for word. Will the picture be the same? Decide before you run it.
//
// The cell after it measures how far apart the two are, in **levels**. Each pixel has a red, a green and a blue, numbers from 0 to 255; `difference` is the mean difference over all of them.

// %% [markdown] lang="zh"
// ## 再来一次
//
// **先猜一猜：**下一个单元格和刚才那行一字不差。画出来的会是同一张图吗？想好了再运行。
//
// 再下一个单元格量一量两张图差多少，单位是**级**：每个像素有红、绿、蓝三个数，各从 0 到 255；`difference` 就是所有这些数的平均差。

// %% tags=["chance"]
let second = sd.draw(prompt).run()?;
sheet(&[("first", &first.image()?), ("second", &second.image()?)])

// %% tags=["chance"]
let apart = first.image()?.difference(&second.image()?);
assert!(apart > 1.0);
format!("a pixel differs by {apart:.0} of 255 levels, in the mean")

// %% [markdown] lang="en"
// **Why?** The model does not begin with an empty sheet. It begins with **noise**, a grid of random numbers, and takes the noise away step by step until a picture is left. Other noise, another picture. With this scheduler nothing else in the run is random: the networks are fixed formulas.
//
// Here is what the two runs began with. (`latents(0)` is what a run works on before its first step, and `channel(0)` one of its four layers. Lesson 4 explains both.)

// %% [markdown] lang="zh"
// **为什么？**模型不是从一张白纸开始的。它从**噪声**（一格一格的随机数）开始，一步一步把噪声去掉，剩下的就是图。噪声不同，图就不同。用这个调度器时，除此之外没有任何随机：网络就是固定的公式。
//
// 下面就是这两次各自的起点。（`latents(0)` 是走第一步之前手里的东西，`channel(0)` 是它四层中的一层，第 4 课会讲。）

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
// And here is a check that the noise depends on the seed alone: under one seed, an apple and a rocket begin with the same numbers. (`steps(1)` makes the runs short. Lesson 2 is about steps.)

// %% [markdown] lang="zh"
// 再来检验噪声只和种子有关：同一个种子下，苹果和火箭的起点是同一组数。（`steps(1)` 让运行短一些，步数是第 2 课的事。）

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
// 1. The four apples above are about two thirds as wide as the picture. Find a seed whose apple is only about half as wide as the picture. How many did you have to try? Which word in the prompt would have done it?
// 2. Ask for something that `pocket` does not know: a unicorn. What comes, from three seeds?
// 3. Same prompt, same seed, but `.size(192, 128)`. Predict first: the same apple, wider?
//
// <details><summary>Answers</summary>
//
// 1. Draw a sheet as above over `5..=12` and look: seed 12. `pocket` learned from four drawings of each thing, one in each of four styles, in many sizes and places. By chance it comes near one or another of them, or between them; nothing in the prompt says which. Words can: with "a small red apple" all of seeds 1 to 4 are about half as wide as the picture, and ", cartoon style" at the end chooses one of the drawings.
// 2. One of the 48 things that it does know, or blobs, as from these three seeds. A model has no way to say that it does not know a word. (`sdviz trace` warns you: pocket comes with a list of its things. Stable Diffusion has none.)
//
//    {answer 2}
//
// 3. Another picture. The noise has another shape, layers of 16×24 numbers instead of 16×16, and the same numbers land in other places. A seed means the same picture only at the same size.
//
//    {answer 3}
//
// </details>

// %% [markdown] lang="zh"
// ## 练习
//
// 1. 上面四个苹果的宽度都在画面的三分之二左右。找一个种子，让苹果只有画面一半宽左右。试了几个才找到？提示词里加上哪个词，就用不着碰运气？
// 2. 让 `pocket` 画它不认识的东西：独角兽（a unicorn）。换三个种子，画出来的是什么？
// 3. 提示词、种子都不变，只加上 `.size(192, 128)`。先猜：还是那个苹果，只是画面变宽了？
//
// <details><summary>参考答案</summary>
//
// 1. 像上面那样，对 `5..=12` 画一排，然后自己看：是种子 12。`pocket` 学画时，每样东西只见过四幅画，四种风格各一幅，大小和位置则有许多种；这次更像哪一幅，还是介于几幅之间，全凭随机，提示词里没有说。用词可以指定：写成 “a small red apple”，种子 1 到 4 的苹果就都只有画面一半宽左右；末尾加上 “, cartoon style”，就选定了其中一幅画。
// 2. 要么是它认识的 48 样东西之一，要么是说不清的色块，这三个种子就是这样。模型没有办法说“这个词我不认识”。（`sdviz trace` 会提醒你，因为 pocket 附了一张它认识的东西的清单；Stable Diffusion 没有这样的清单。）
//
//    {answer 2}
//
// 3. 是另一张图。噪声的形状变了，每一层从 16×16 个数变成 16×24 个，同样的数落到了别的位置上。只有尺寸相同，同一个种子才对应同一张图。
//
//    {answer 3}
//
// </details>

// %% answer="2"
let mut unicorns = Vec::new();
for seed in 1..=3 {
    let drawing = sd.draw("a unicorn on a white background").seed(seed).decode(Decode::Final);
    unicorns.push((format!("seed {seed}"), drawing.run()?.image()?));
}
sheet(&unicorns)

// %% answer="3"
let wide = sd.draw(prompt).seed(1).size(192, 128).decode(Decode::Final).run()?;
assert_eq!(wide.latents(0)?.shape(), [1, 4, 16, 24]);
wide.image()?

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
// Textbooks mostly show all this in Python, with the library diffusers. If you have such a chapter before you, this table says how its lines are called here. Each lesson ends with one.
//
// | there, in Python | here |
// |---|---|
// | `pipe = StableDiffusionPipeline.from_pretrained(…)` | `let sd = Model::load(…)?` |
// | `image = pipe(prompt).images[0]` | `sd.draw(prompt).run()?.image()?` |
// | `generator = torch.Generator("cpu").manual_seed(42)`, `pipe(prompt, generator=generator)` | `sd.draw(prompt).seed(42).run()?` |
// | `image.save("apple.png")` | `picture.save("apple.png")?` |
//
// The noise of a seed here is bit for bit that of `torch.Generator("cpu")`.

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
// 教材大多用 Python 的 diffusers 库来讲这些内容。手边如果有这样一章，可以查下面的表：书里的写法在这里怎么写。每一课的最后都有一张。
//
// | 书里的 Python | 这里 |
// |---|---|
// | `pipe = StableDiffusionPipeline.from_pretrained(…)` | `let sd = Model::load(…)?` |
// | `image = pipe(prompt).images[0]` | `sd.draw(prompt).run()?.image()?` |
// | `generator = torch.Generator("cpu").manual_seed(42)`，`pipe(prompt, generator=generator)` | `sd.draw(prompt).seed(42).run()?` |
// | `image.save("apple.png")` | `picture.save("apple.png")?` |
//
// 同一个种子在这里产生的噪声，和 `torch.Generator("cpu")` 的逐位相同。
