// %% [markdown] lang="en"
// # What people do with it every day
//
// You will be able to
//
// - load a model in half of its memory, and exchange its autoencoder;
// - say what `(((this)))` in a prompt does, and measure it;
// - say why a picture larger than the model was trained for goes wrong, and what a second pass does about it;
// - take the settings from a picture that you found, and change one of them;
// - teach a model a new thing with a **LoRA** of your own, and turn it up and down;
// - **merge** two models, and say what lies half-way.
//
// None of it needs anything new: each is a small change at one place of the loop of lesson 5 or the networks of lesson 7. Name the place before you read on.

// %% [markdown] lang="zh"
// # 人们每天用它做的事
//
// 你将学会：
//
// - 用一半的内存加载模型，换掉它的自编码器；
// - 说清楚提示词里的 `(((这个)))` 起什么作用，并量一量；
// - 说清楚比训练尺寸更大的图为什么会画坏，“第二遍”又是怎么补救的；
// - 从找到的一张图里取出设置，只改其中一项；
// - 用自己的 **LoRA** 教模型一样新东西，还能调大调小；
// - **合并**两个模型，说出各取一半会得到什么。
//
// 这些都用不着新东西：每一件都只是在第 5 课的循环、或者第 7 课的网络里，改动了某一处。往下读之前，先说出是哪一处。

// %%
use sdviz::prelude::*;
let sd = Model::load("pocket")?;
let prompt = "a red apple on a blue background";

// This lesson draws much, so in few steps; and only finished pictures are wanted, so no other step is decoded.
const STEPS: usize = 12;
fn draw(sd: &Model, prompt: &str, seed: u64) -> Drawing {
    sd.draw(prompt).seed(seed).steps(STEPS).decode(Decode::Final)
}

// A folder for the files of this lesson.
let folder = std::env::temp_dir().join(format!("sdviz-lesson-9-{}", std::process::id()));
std::fs::create_dir_all(&folder)?;

// %% [markdown] lang="en"
// ## Half of the memory
//
// `f32`, `bf16` and `f16` are ways to write a number down. A parameter in `f32` takes 4 bytes, in `bf16` or `f16` 2. Stable Diffusion has a thousand million of them, so this decides whether it fits into a graphics card.
//
// **Predict:** `bf16` keeps two or three digits of each number. How far will the picture be from the one in `f32`: a level, ten, another picture?

// %% [markdown] lang="zh"
// ## 一半的内存
//
// `f32`、`bf16`、`f16` 是存数的几种格式：一个参数用 `f32` 存要 4 个字节，用 `bf16` 或 `f16` 只要 2 个。Stable Diffusion 有十亿个参数，所以这关系到显卡装不装得下。
//
// **先猜一猜：**`bf16` 只留下每个数的两三位有效数字。画出来的图和 `f32` 的相比：差一级、差十级，还是变成另一张图？

// %%
let half = Model::options("pocket").dtype("bf16").load()?;
for seed in [1, 2, 3] {
    let apart = draw(&sd, prompt, seed).run()?.image()?.difference(&draw(&half, prompt, seed).run()?.image()?);
    println!("seed {seed}: {apart:.1} levels apart");
    assert!(0.0 < apart && apart < 2.0);
}

// %% [markdown] lang="en"
// About a level, or less. **Why so little?** The errors are small and point every which way. In the long sums of which a network is made they mostly cancel.
//
// ## Another autoencoder
//
// A model that you download may have a poor autoencoder: people know it by grey, washed-out pictures, and exchange it for a better one. To have such a model, we make one: a copy of pocket as a folder, in which the decoder's last layer is turned down.

// %% [markdown] lang="zh"
// 一级左右，或者更少。**为什么这么少？**误差很小，方向又各不相同，网络里一加就是一长串，大部分互相抵消了。
//
// ## 换一个自编码器
//
// 下载来的模型，自编码器可能不好：画面发灰、像褪了色。大家遇到这种情况，就换一个更好的。手边没有这样的模型，我们就自己做一个：把 pocket 复制成文件夹，再把解码器的最后一层调弱。

// %%
use sdviz::model::convert::to_folder;
use sdviz::model::resolve::resolve;
use std::path::{Path, PathBuf};

// A copy of pocket in which one tensor is changed.
fn changed(folder: &Path, file: &str, tensor: &str, change: impl Fn(&Tensor) -> Tensor) -> Result<PathBuf> {
    to_folder(&resolve(Some("pocket"))?.files, None, folder)?;
    let file = folder.join(file);
    let mut tensors = Tensor::read_safetensors(&file)?;
    for (_, weights) in tensors.iter_mut().filter(|(name, _)| name == tensor) {
        *weights = change(weights);
    }
    Tensor::write_safetensors(&tensors, &file)?;
    Ok(folder.to_path_buf())
}

let vae_file = "vae/diffusion_pytorch_model.safetensors";
let grey = changed(&folder.join("grey"), vae_file, "decoder.conv_out.weight", |weights| weights * 0.4)?;

// %% [markdown] lang="en"
// **Predict:** will the *latents* of the grey model be other than pocket's?

// %% [markdown] lang="zh"
// **先猜一猜：**这个发灰的模型，*潜变量*会和 pocket 的不同吗？

// %%
let grey_sd = Model::load(&grey)?;
let cured = Model::options(&grey).vae("pocket").load()?;
let mut by_vae = vec![];
for seed in [1, 2] {
    let (ours, faded, mended) = (draw(&sd, prompt, seed).run()?, draw(&grey_sd, prompt, seed).run()?, draw(&cured, prompt, seed).run()?);
    assert_eq!(ours.latents(STEPS)?.array(), faded.latents(STEPS)?.array());
    assert_eq!(ours.image()?.difference(&mended.image()?), 0.0);
    by_vae.extend([("as it came", faded.image()?), ("with pocket's VAE", mended.image()?)]);
}
sheet(&by_vae)

// %% [markdown] lang="en"
// The same. The decoder comes after the loop; it can spoil a picture but not change what is in it. That is why an autoencoder can be exchanged without training anything.
//
// ## Emphasis
//
// Web UIs (programs that draw in the browser; AUTOMATIC1111's, `a1111` for short, is the best known) read brackets in a prompt: each `(` multiplies the weight of what it holds by 1.1, so `(((blue)))` is 1.1³ = 1.33; each `[` divides; `(blue:0.3)` says it outright. The embeddings (lesson 5) are multiplied by the weight, and the whole prompt is then brought back to the mean that it had.
//
// **Predict:** `(blue:0)` multiplies the word's row by nothing. What colour will the background be?

// %% [markdown] lang="zh"
// 一样。解码器在循环之后，它能弄糟一张图，却改变不了图里有什么。所以换自编码器不用重新训练。
//
// ## 强调
//
// 网页界面（在浏览器里画图的程序，最有名的是 AUTOMATIC1111，简写 `a1111`）会读提示词里的括号：每个 `(` 把里面的权重乘以 1.1，所以 `(((blue)))` 是 1.1³ = 1.33；每个 `[` 则除以 1.1；`(blue:0.3)` 直接写明数值。嵌入（第 5 课）要乘上这个权重，然后整句提示词再调回原来的均值。
//
// **先猜一猜：**`(blue:0)` 把这个词的那一行乘以零。背景会是什么颜色？

// %%
let mut weighed = vec![];
for seed in [1, 2] {
    let plain = draw(&sd, prompt, seed).run()?.image()?;
    let weighed_as = |prompt: &str| draw(&sd, prompt, seed).prompt_syntax("a1111").run()?.image();
    let no_blue = weighed_as("a red apple on a (blue:0) background")?;
    let strong = weighed_as("a (red apple:1.5) on a blue background")?;
    let [red, green, blue] = no_blue.crop(0, 0, 12, 12).mean_colour();
    assert!(blue > red && blue > green && no_blue.difference(&plain) < strong.difference(&plain));
    weighed.extend([("plain", plain), ("(blue:0)", no_blue), ("(red apple:1.5)", strong)]);
}
sheet(&weighed)

// %% [markdown] lang="en"
// Still blue. **Why?** Lesson 5 has the answer: every token after "blue" has read it. The background listens to "background" and to the end-of-text tokens (lesson 10 draws who listens to whom), and those rows are not touched. To turn a thing up does more: its own rows then drown others. (The assertion, under two seeds: `(red apple:1.5)` moves the picture farther than `(blue:0)`.)
//
// **With Stable Diffusion:** emphasis does more, and is used all the time. Weights from 0.8 to 1.4 are usual; much above, pictures burn as with too much guidance.
//
// ## Larger
//
// pocket was trained on 128×128, Stable Diffusion on 512×512. The loop takes latents of any size.
//
// **Predict:** ask for 256×256, four times the area. One large cat, a small one, or several? (The cell also draws it in another way, `hires`, with two strengths. What that is, the text after the pictures says.)

// %% [markdown] lang="zh"
// 还是蓝的。**为什么？**答案在第 5 课：“blue” 后面的每个词元都读过它。背景听的是 “background” 和结束词元（谁听谁的，第 10 课会画出来），那些行没有动。把一样东西调高倒更有效，因为它自己那几行会压过别的。（断言检验两个种子：`(red apple:1.5)` 让图变得比 `(blue:0)` 多。）
//
// **换成 Stable Diffusion：**强调的作用更大，人人都在用。常用的权重是 0.8 到 1.4；再高，画面就会像引导过强那样烧焦。
//
// ## 更大
//
// pocket 是在 128×128 上训练的，Stable Diffusion 是在 512×512 上。循环本身对潜变量的大小没有要求。
//
// **先猜一猜：**要一张 256×256 的图，面积是四倍。会是一只大猫、一只小猫，还是好几只？（单元格里还用另一种办法 `hires` 画了两种强度的，图后面再解释它是什么。）

// %%
let cat = "a cat face on a yellow background";
let mut large = vec![];
for seed in [1, 2] {
    let small = draw(&sd, cat, seed).run()?.image()?;
    let at_once = draw(&sd, cat, seed).size(256, 256).run()?.image()?;
    let [strong, gentle] = [0.6, 0.3].map(|strength| draw(&sd, cat, seed).hires(2.0, strength).run());
    let (strong, gentle) = (strong?.image()?, gentle?.image()?);
    assert!(gentle.difference(&small.magnified(2)) < strong.difference(&small.magnified(2)));
    large.extend([("128", small), ("256 at once", at_once), ("128, then 0.6", strong), ("128, then 0.3", gentle)]);
}
sheet_of(4, &large)

// %% [markdown] lang="en"
// None of these (two seeds, an example): a low, wide cat with rows of eyes, at the bottom of the picture. **Why?** The UNet learned how large an eye is, in latents, and how far it is to the next. On four times the area it finds room for more of them, and its small middle (lesson 7), 8×8 now, has never seen so much at once.
//
// The way out is lesson 6: draw it small, enlarge the latents, put noise on them, and run only the last part of the loop. The strength of that **second pass** decides again what stays. At 0.3 the picture stays nearer to the small cat than at 0.6 (that is the assertion), but pocket cannot do it well at either: wherever it may draw anew, it puts eyes and wrinkles. It has seen nothing but whole things at 128×128. **With Stable Diffusion**, which has seen pictures of many kinds and crops of them, a second pass of 0.4 to 0.6 sharpens what is there and mostly keeps it.
//
// ## Settings from a picture
//
// You find a picture that you like. If its maker's program wrote the settings into the file, as most do, you can go on from there: the same picture again, or with one thing changed.

// %% [markdown] lang="zh"
// 都不是（两个种子，是个例子）：是一只又矮又宽的猫，缩在图的下方，长了一排排眼睛。**为什么？**UNet 学到的是一只眼睛占多少个潜变量，隔多远才是下一只。面积成了四倍，它就觉得还放得下好几只；而它那小小的中间块（第 7 课）现在是 8×8，从没一次见过这么多。
//
// 出路就在第 6 课：先画小的，把潜变量放大，盖上噪声，只走循环的最后一段。这**第二遍**的强度，又决定了留下什么。强度 0.3 的图比 0.6 的更接近小猫（断言检验的就是这一点），但不管哪一个，pocket 都做不好：只要放手让它画，它就添眼睛、添皱纹。它只见过 128×128 的完整东西。**换成 Stable Diffusion** 就不同了：它见过各种各样的图和图的局部，强度 0.4 到 0.6 的第二遍能把已有的东西画得更清楚，而且多半保得住。
//
// ## 图里的设置
//
// 你找到一张喜欢的图。如果画它的程序把设置写进了文件（大多数都会），你就可以接着做：再画一张一样的，或者只改一样。

// %%
let found = folder.join("found.png");
draw(&sd, "a rocket on a black background", 11).guidance_scale(4.0).run()?.image()?.save(&found)?;

let again = sd.like(&found)?.decode(Decode::Final).run()?;
assert_eq!(again.image()?.difference(&Picture::open(&found)?), 0.0);
let with_other_seed = sd.like(&found)?.seed(12).decode(Decode::Final).run()?;
println!("{}", with_other_seed.text());
sheet(&[("found", &again.image()?), ("seed 12", &with_other_seed.image()?)])

// %% [markdown] lang="en"
// ## A LoRA of your own
//
// pocket has never seen a target. We draw it some, with captions, and teach it. Not by changing its parameters: beside some layers of the UNet two small matrices are put, and only those learn. Their product is added to the layer's weights. That is a **LoRA** (low-rank adaptation), and it is a small file that others can use with the same model.

// %% [markdown] lang="zh"
// ## 自己的 LoRA
//
// pocket 从没见过靶子。我们画几张给它看，配上说明文字，教会它。不是去改它的参数，而是在 UNet 的一些层旁边放上两个小矩阵，只让它们学；两个矩阵的乘积再加到那一层的权重上。这就是 **LoRA**（low-rank adaptation，低秩适配）：一个小文件，用同一个模型的人都能用。

// %%
const COLOURS: [(&str, [u8; 3]); 4] =
    [("blue", [40, 90, 215]), ("green", [36, 140, 70]), ("yellow", [255, 222, 60]), ("purple", [120, 50, 165])];

// The number-th drawing of a target: rings around a middle that wanders, on one of four backgrounds.
fn target(number: u32) -> (String, Picture) {
    let (name, background) = COLOURS[number as usize % COLOURS.len()];
    let (middle, radius) = (60.0 + f64::from(number * 5 % 9), 38.0 + f64::from(number * 7 % 11));
    let picture = Picture::from_fn(128, 128, |x, y| {
        let ring = (f64::from(x) - middle).hypot(f64::from(y) - middle) / radius * 5.0;
        if ring >= 5.0 { background } else if ring as u32 % 2 == 0 { [220, 30, 40] } else { [250, 250, 250] }
    });
    (format!("a target on a {name} background"), picture)
}

let targets: Vec<(String, Picture)> = (0..16).map(target).collect();
sheet(&targets[..4].iter().map(|(caption, picture)| (&caption[14..], picture)).collect::<Vec<_>>())

// %% [markdown] lang="en"
// Now the teaching. `rank` is the short side of the two matrices, `batch` how many drawings a training step looks at, `learning_rate` how far it moves what is learned.

// %% [markdown] lang="zh"
// 现在来教它。`rank`（秩）是两个矩阵的短边，`batch` 是每个训练步看几张图，`learning_rate`（学习率）是每一步改动多大。

// %%
let file = sd.teach(&targets).steps(60).batch(4).learning_rate(4e-3).rank(8).seed(1).lora(folder.join("target.safetensors"))?;
println!("{} bytes, beside {} of the UNet", std::fs::metadata(&file)?.len(), 2 * sd.parts()?.parameters("unet"));

// %% [markdown] lang="en"
// A LoRA has a **weight**: how much of it is added. **Predict:** at weight 0, 0.5, 1: what does the model draw for "a target", and what for "a red apple"?

// %% [markdown] lang="zh"
// LoRA 有一个**权重**：要加进去多少。**先猜一猜：**权重为 0、0.5、1 时，对 “a target” 会画出什么？对 “a red apple” 呢？

// %%
let mut taught = vec![];
for weight in [0.0, 0.5, 1.0] {
    let sd = Model::options("pocket").lora(&file, weight).load()?;
    for (prompt, seed) in [("a target on a blue background", 1), ("a target on a green background", 2), (prompt, 3), (cat, 4)] {
        taught.push((format!("weight {weight}"), draw(&sd, prompt, seed).run()?.image()?));
    }
}
sheet_of(4, &taught)

// %%
// The share of nearly white pixels in the middle: a target has white rings.
fn white(picture: &Picture) -> f64 {
    let middle = picture.crop(32, 32, 64, 64);
    let white = middle.pixels().filter(|pixel| pixel.0.iter().all(|level| *level > 180)).count();
    white as f64 / f64::from(64 * 64)
}

let with_lora = Model::options("pocket").lora(&file, 1.0).load()?;
for seed in [5, 6, 7] {
    let target = "a target on a blue background";
    let (before, after) = (draw(&sd, target, seed).run()?.image()?, draw(&with_lora, target, seed).run()?.image()?);
    println!("seed {seed}: white {:.0} %, with the LoRA {:.0} %", 100.0 * white(&before), 100.0 * white(&after));
    assert!(white(&after) > white(&before) + 0.05);
}

// %% [markdown] lang="en"
// At weight 1 it has learned the rings, more or less, from sixteen drawings in sixty steps. At half weight it is on the way there. And look at the others (one seed each, an example): the apple has become pink with white edges, and the cat has got a white ring and a red one around its head. What was learned is not bound to the word alone; whoever teaches a model shows it other things on the way, so that it does not forget them (exercise 3).
//
// **With Stable Diffusion** it is the same, with a graphics card and some minutes to an hour; most files that people share to make a model draw a person or a style are LoRAs.
//
// ## Merging
//
// A **merge** of two models takes of each tensor (1 − ratio) of the one and ratio of the other. That sounds too simple to work. First a case in which we know what must come out: pocket, and pocket with the LoRA.
//
// **Predict:** half-way between the two. Which of the pictures above will it draw?

// %% [markdown] lang="zh"
// 权重为 1 时，它大致学会了环：十六张图，六十步。权重减半，画出来的就还在半路上。再看看别的（各一个种子，是个例子）：苹果变成粉红的，镶了白边；猫的头外面套上了一圈白、一圈红。学到的东西并不只跟那个词绑在一起；所以教模型时，要一路给它看别的东西，免得它忘掉（练习 3）。
//
// **换成 Stable Diffusion**也一样，要一块显卡，几分钟到一小时；大家分享的那些让模型画某个人、某种风格的文件，大多就是 LoRA。
//
// ## 合并
//
// **合并**两个模型，就是每个张量取甲的 (1 − 比例) 份，加上乙的（比例）份。听起来简单得不像能行。先看一个答案已知的例子：pocket，和带 LoRA 的 pocket。
//
// **先猜一猜：**正好一半一半，会画出上面的哪一张？

// %%
let midway = merge("pocket", Model::options("pocket").lora(&file, 1.0), 0.5)?;
let at_half_weight = Model::options("pocket").lora(&file, 0.5).load()?;
for seed in [1, 2] {
    let target = "a target on a blue background";
    let apart = draw(&midway, target, seed).run()?.image()?.difference(&draw(&at_half_weight, target, seed).run()?.image()?);
    println!("seed {seed}: {apart:.2} levels apart");
    assert!(apart < 0.5);
}

// %% [markdown] lang="en"
// The one at weight 0.5: to add half of a product is to go half-way. Now two models that disagree: a pocket in which "apple" and "banana" have changed places. One tensor is enough for that, the table of the tokens' first embeddings.
//
// **Predict:** ask for an apple. At ratio 0 it is an apple, at 1 a banana. And at 0.5?

// %% [markdown] lang="zh"
// 权重 0.5 的那张：加上乘积的一半，就是走到半路。再看两个互相矛盾的模型：做一个 pocket，里面的 “apple” 和 “banana” 换了位置。改一个张量就够了，就是词元的初始嵌入表。
//
// **先猜一猜：**让它画苹果。比例为 0 是苹果，为 1 是香蕉。0.5 呢？

// %%
let (apple, banana) = (sd.tokens("apple")?.ids()[1], sd.tokens("banana")?.ids()[1]);
let table = "text_model.embeddings.token_embedding.weight";
let swapped = changed(&folder.join("swapped"), "text_encoder/model.safetensors", table, |rows| {
    let swapped = rows.copy();
    swapped.get(apple).copy_(&rows.get(banana));
    swapped.get(banana).copy_(&rows.get(apple));
    swapped
})?;

let mut mixtures = vec![];
for ratio in [0.0, 0.25, 0.5, 0.75, 1.0] {
    mixtures.push((ratio, merge("pocket", Model::options(&swapped), ratio)?));
}
let mut merged = vec![];
for (ratio, mixture) in &mixtures {
    merged.push((format!("ratio {ratio}"), draw(mixture, "an apple on a blue background", 1).run()?.image()?));
}
sheet(&merged)

// %%
for seed in [1, 2] {
    for (place, drawn) in [(0, "an apple"), (4, "an banana")] {
        let mixture = &mixtures[place].1;
        let asked = draw(mixture, "an apple on a blue background", seed).run()?.image()?;
        assert!(asked.difference(&draw(&sd, &format!("{drawn} on a blue background"), seed).run()?.image()?) < 0.5);
    }
}

// %% [markdown] lang="en"
// At ratio 0 it is pocket's apple, and at 1 the picture that pocket draws of "an banana" (that is the assertion, for two seeds). In between, for seed 1, an example: an orange apple, something else, a banana. **Why** not a half-banana? Between the rows of the two words lie rows that belong to no word, and the model draws what it makes of them: here something yellow with two ears. A merge is not a mixture of pictures but a third model; whether it is any good is seen only when it draws. Merges that people make are mostly good because their two models have the same ancestor, and lie nearer to each other than these two.
//
// ## Exercises
//
// 1. Which of the changes of this lesson leave the latents of the last step exactly as they were?
// 2. Merge by block: `sdviz merge A B --ratio 0.5 --blocks unet.up_blocks` leaves everything else A's. In which block would you look for the swapped words? Why does `--blocks unet` change nothing at all?
// 3. Teach the target again with `.keep(&known)`, where `known` holds a dozen pictures that pocket draws itself, with their prompts. What becomes of the apple at weight 1?
// 4. Give the LoRA the weight 2, and −1. What do you expect?
// 5. Draw the emphasis pictures again, with `a red apple on a blue (background:0)`. Lesson 10 will tell you more; what do you guess?
//
// <details><summary>Answers</summary>
//
// 1. Only the other autoencoder. bf16, emphasis, LoRA and merging change what the UNet says; a second pass works on other latents altogether.
// 2. In none of the UNet's: the swapped table belongs to the text encoder, and the UNets of the two are equal.
// 3. It stays more of an apple: half of every step is now spent on what must not be forgotten. The target takes longer to learn.
//
//    {answer 3}
//
// 4. At 2 it is exaggerated, as with too high a guidance scale: the apple is rings all over, in a pink that no picture had. At −1 it is pushed away from targets, which is no thing in particular: two yellow bits. The apple stays an apple (seed 1, an example).
//
//    {answer 4}
//
// 5. Still blue (seeds 1 and 2, an example): the end-of-text tokens have read the whole prompt, too.
//
//    {answer 5}
//
// </details>

// %% [markdown] lang="zh"
// 比例为 0 时是 pocket 的苹果，为 1 时是 pocket 听到 “an banana” 时画的图（断言对两个种子检验了这一点）。中间几张只看了种子 1，是个例子：一个橙色的苹果，别的什么东西，一根香蕉。**为什么**不是半根香蕉？两个词的行之间，是不属于任何词的行，模型按自己的理解去画：这里是个长着两只耳朵的黄东西。合并不是把图混在一起，而是造出第三个模型；它好不好，画出来才知道。大家做的合并多半是好的，因为那两个模型出自同一个祖先，彼此离得比这两个近。
//
// ## 练习
//
// 1. 这一课的各种改动里，哪些让最后一步的潜变量分毫不变？
// 2. 按块合并：`sdviz merge A B --ratio 0.5 --blocks unet.up_blocks` 只合并这一块，其余都是 A 的。对调的词该到哪一块里去找？为什么 `--blocks unet` 什么也改变不了？
// 3. 加上 `.keep(&known)` 再教一次靶子，`known` 是 pocket 自己画的十来张图和它们的提示词。权重为 1 时，苹果怎么样了？
// 4. 把 LoRA 的权重设成 2，再设成 −1。你预计会怎样？
// 5. 把强调的那几张图改成 `a red apple on a blue (background:0)` 再画。第 10 课会讲得更清楚；你猜会怎样？
//
// <details><summary>参考答案</summary>
//
// 1. 只有换自编码器。bf16、强调、LoRA 和合并都会改变 UNet 说的话；第二遍处理的则是另一份潜变量。
// 2. UNet 的哪一块里都没有：对调的表属于文本编码器，两个模型的 UNet 是一样的。
// 3. 更像苹果了：每一步现在有一半用在不能忘的东西上。靶子就学得慢一些。
//
//    {answer 3}
//
// 4. 为 2 时会过头，就像引导系数太大：苹果浑身是环，那种粉红哪张图里都没有。为 −1 时被推离靶子，而“离开靶子”并不是什么具体的东西：画出两小块黄的。苹果还是苹果（种子 1，只是一个例子）。
//
//    {answer 4}
//
// 5. 还是蓝的（种子 1 和 2，只是一个例子）：结束词元也读过整句提示词。
//
//    {answer 5}
//
// </details>

// %% answer="3"
let mut known = vec![];
for (seed, thing) in (21..).zip(["a red apple", "a cat face", "a rocket", "a banana", "a sunflower", "a ladybug"]) {
    for colour in ["blue", "yellow"] {
        let caption = format!("{thing} on a {colour} background");
        known.push((caption.clone(), draw(&sd, &caption, seed).run()?.image()?));
    }
}
let teaching = sd.teach(&targets).keep(&known).steps(60).batch(4).learning_rate(4e-3).rank(8).seed(1);
let careful = Model::options("pocket").lora(&teaching.lora(folder.join("careful.safetensors"))?, 1.0).load()?;
let mut apples = vec![];
for seed in [3, 5] {
    let [plain, forgetful, careful] = [&sd, &with_lora, &careful].map(|sd| draw(sd, prompt, seed).run()?.image());
    let (plain, forgetful, careful) = (plain?, forgetful?, careful?);
    assert!(careful.difference(&plain) < forgetful.difference(&plain));
    apples.extend([("plain", plain), ("with the first LoRA", forgetful), ("with the careful one", careful)]);
}
sheet_of(3, &apples)

// %% answer="4"
let mut odd = vec![];
for weight in [2.0, -1.0] {
    let sd = Model::options("pocket").lora(&file, weight).load()?;
    for prompt in ["a target on a blue background", prompt] {
        odd.push((format!("weight {weight}"), draw(&sd, prompt, 1).run()?.image()?));
    }
}
sheet(&odd)

// %% answer="5"
for seed in [1, 2] {
    let drawing = draw(&sd, "a red apple on a blue (background:0)", seed).prompt_syntax("a1111");
    let [red, green, blue] = drawing.run()?.image()?.crop(0, 0, 12, 12).mean_colour();
    assert!(blue > red && blue > green);
}

// %%
// When you are done with the exercises: this lesson's files are not needed any more.
std::fs::remove_dir_all(&folder)?;

// %% [markdown] lang="en"
// ## In the shell
//
//     sdviz trace --prompt "a red apple" --dtype bf16
//     sdviz trace --prompt "a red apple" --model grey --vae pocket
//     sdviz trace --prompt "a (red apple:1.5) on a blue background" --prompt-syntax a1111
//     sdviz tokens "a (red apple:1.5) on a blue background" --prompt-syntax a1111      # the weight of each token
//     sdviz trace --prompt "a cat face on a yellow background" --hires 2 --hires-strength 0.3
//     sdviz trace --like found.png --seed 12
//     sdviz train lora --data targets --model pocket --out my        # targets/: pictures, and a .txt beside each
//     sdviz trace --prompt "a target on a blue background" --lora my/lora.safetensors:0.5
//     sdviz merge pocket swapped --ratio 0.5 --out mixed
//
// ## In the chapter
//
// | there, in Python | here |
// |---|---|
// | `from_pretrained(…, torch_dtype=torch.float16)` | `Model::options(…).dtype("f16").load()?` |
// | `from_pretrained(…, vae=AutoencoderKL.from_pretrained(…))` | `Model::options(…).vae(…).load()?` |
// | `pipe.load_lora_weights("target.safetensors")`, `pipe.fuse_lora(lora_scale=0.5)` | `Model::options(…).lora("target.safetensors", 0.5).load()?` |

// %% [markdown] lang="zh"
// ## 在命令行里
//
//     sdviz trace --prompt "a red apple" --dtype bf16
//     sdviz trace --prompt "a red apple" --model grey --vae pocket
//     sdviz trace --prompt "a (red apple:1.5) on a blue background" --prompt-syntax a1111
//     sdviz tokens "a (red apple:1.5) on a blue background" --prompt-syntax a1111      # 每个词元的权重
//     sdviz trace --prompt "a cat face on a yellow background" --hires 2 --hires-strength 0.3
//     sdviz trace --like found.png --seed 12
//     sdviz train lora --data targets --model pocket --out my        # targets/：图，旁边各有一个 .txt
//     sdviz trace --prompt "a target on a blue background" --lora my/lora.safetensors:0.5
//     sdviz merge pocket swapped --ratio 0.5 --out mixed
//
// ## 对照原书
//
// | 书里的 Python | 这里 |
// |---|---|
// | `from_pretrained(…, torch_dtype=torch.float16)` | `Model::options(…).dtype("f16").load()?` |
// | `from_pretrained(…, vae=AutoencoderKL.from_pretrained(…))` | `Model::options(…).vae(…).load()?` |
// | `pipe.load_lora_weights("target.safetensors")`，`pipe.fuse_lora(lora_scale=0.5)` | `Model::options(…).lora("target.safetensors", 0.5).load()?` |
