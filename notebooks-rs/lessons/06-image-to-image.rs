// %% [markdown] lang="en"
// # Image to image
//
// You will be able to
//
// - put noise on a picture, as much as you like, by hand;
// - say before you run it where in the loop a **strength** begins, and what it will leave of your picture;
// - write `img2img_simplified`;
// - repaint a part of a picture behind a **mask**.
//
// **Image to image** is the loop of lesson 5, entered later. It begins not with noise alone, but with a picture of yours that has noise on it.

// %% [markdown] lang="zh"
// # 图生图
//
// 你将学会：
//
// - 亲手给一张图加噪声，想加多少就加多少；
// - 不用运行就说出某个**强度**从循环的哪里开始，你的图会留下什么；
// - 写出 `img2img_simplified`；
// - 用**蒙版**只重画图的一部分。
//
// **图生图**就是第 5 课的循环，只是晚一点进去。它的起点不是纯噪声，而是你的一张盖上了噪声的图。

// %%
use sdviz::prelude::*;
let sd = Model::load("pocket")?;

// Only finished pictures are wanted here: no other step is decoded, which takes a quarter of the time.
fn draw(sd: &Model, prompt: &str, seed: u64) -> Drawing {
    sd.draw(prompt).seed(seed).decode(Decode::Final)
}

// %% [markdown] lang="en"
// A sketch will do: a red disc with a stalk, drawn pixel by pixel. With a file of your own it is `Picture::open("sketch.png")?`. (The `Drawing` above is what `sd.draw(…)` gives: a picture that is asked for and not yet drawn.)

// %% [markdown] lang="zh"
// 一张草图就够了：一个带柄的红圆，一个像素一个像素地画。要用自己的文件，就写 `Picture::open("sketch.png")?`。（上面的 `Drawing` 就是 `sd.draw(…)` 给出的东西：一张要画、还没画的图。）

// %%
fn pixel(x: u32, y: u32) -> [u8; 3] {
    let (right, down) = (f64::from(x) - 64.0, f64::from(y) - 70.0);
    if right.hypot(down) < 38.0 {
        [200, 30, 40]
    } else if (right - 2.0).abs() < 4.0 && (18..34).contains(&y) {
        [90, 60, 30]
    } else {
        [40, 90, 215]
    }
}

let sketch = Picture::from_fn(128, 128, pixel);
sketch

// %% [markdown] lang="en"
// ## Noise on a picture
//
// First the sketch is **encoded** to latents (lesson 4). At a noise level ᾱ (lesson 5) a picture with noise on it is
//
// > √ᾱ · encoded + √(1−ᾱ) · noise
//
// The scheduler has a function for it, `add_noise`. It takes the number of the call of the UNet that comes next, counted from 0, and so knows ᾱ.
//
// **Predict:** there are 25 calls. Noised to the level of which call can you still see the sketch: 20, 15, 10, 5, 0?

// %% [markdown] lang="zh"
// ## 给图盖上噪声
//
// 先把草图**编码**成潜变量（第 4 课）。在噪声水平 ᾱ（第 5 课）上，盖了噪声的图就是
//
// > √ᾱ · 编码 + √(1−ᾱ) · 噪声
//
// 调度器有现成的函数 `add_noise`。告诉它接下来是第几次调用 UNet（从 0 数起），它就知道 ᾱ 是多少。
//
// **先猜一猜：**一共 25 次调用。加噪到第几次调用的水平，你还看得出草图：20、15、10、5 还是 0？

// %%
let steps = 25;
let scheduler = sd.scheduler("ddim", steps)?;
let encoded = sd.encode(&sketch, 1)?;
let noise = sd.noise(2);

let mut noised = vec![];
for call in [24, 20, 15, 10, 5, 0] {
    let alpha = scheduler.level(call).alpha_cumprod;
    let by_hand = alpha.sqrt() * &encoded + (1.0 - alpha).sqrt() * &noise;
    assert!(by_hand.allclose(&scheduler.add_noise(&encoded, &noise, call)?, 1e-5, 1e-5, false));
    noised.push((format!("call {call}, ᾱ = {alpha:.2}"), sd.decode(&by_hand)?));
}
sheet(&noised)

// %% [markdown] lang="en"
// Down to about call 10 (one noise, an example): a person sees the disc while the noise is already twice as strong as the picture, and at call 5 some red is left of it. The UNet sees it, too. **Why?** Noise differs from one place to the next, the disc does not: whoever averages over many places gets rid of the noise.
//
// ## Strength
//
// The **strength** says how many of the steps are made: of 25 steps, strength 0.6 makes the last int(25 × 0.6) = 15. (`int` rounds down.) The picture is noised to the level at which those begin.
//
// **Predict:** for 25 steps, at which call does strength 0.2 begin? And 1.0? What will be left of a sketch at strength 1?

// %% [markdown] lang="zh"
// 大约到第 10 次（只看了一份噪声，是个例子）：这时噪声已经有画面的两倍强，人还是看得见圆；到第 5 次，只剩下一些红色。UNet 也能看见。**为什么？**噪声在相邻的位置上各不相同，圆却不是：在许多位置上一平均，噪声就抵消了。
//
// ## 强度
//
// **强度**说的是走其中多少步：25 步里，强度 0.6 走最后的 int(25 × 0.6) = 15 步（`int` 是向下取整）。草图就加噪到这 15 步开始时的水平。
//
// **先猜一猜：**一共 25 步，强度 0.2 从第几次调用开始？1.0 呢？强度为 1 时，草图还会剩下什么？

// %%
for strength in [0.2, 0.4, 0.6, 0.8, 1.0] {
    let first = steps - (steps as f64 * strength) as usize;
    let alpha = scheduler.level(first).alpha_cumprod;
    println!(
        "strength {strength}: calls {first:>2} to 24, from timestep {:>3}, where {:>2.0} % of the variance is picture",
        scheduler.timesteps()[first], 100.0 * alpha,
    );
}

// %% [markdown] lang="en"
// Now for the pictures. The sketch is red; the prompt wants it green.
//
// **Predict:** at which strength does the apple turn green? And from which strength on is it larger than the disc, or in another place?

// %% [markdown] lang="zh"
// 来看图。草图是红的，提示词要的是绿苹果。
//
// **先猜一猜：**强度到多少，苹果变绿？再到多少，它会比圆大，或者换了位置？

// %%
let prompt = "a green apple on a blue background";
let strengths = [0.2, 0.4, 0.6, 0.8, 1.0];
let mut drawn = vec![];
for seed in [1, 2] {
    for strength in strengths {
        let run = draw(&sd, prompt, seed).init_image(&sketch).strength(strength).run()?;
        drawn.push((format!("seed {seed}, strength {strength}"), run.image()?));
    }
}
sheet_of(5, &drawn)

// %% [markdown] lang="en"
// First the surface and the edge change: at strength 0.2 the disc is still red, but has the shape of an apple. Then the colour: at 0.4 it is half-way, an olive, and at 0.6 green. Last the size and the place, at 0.8 and 1. (Seeds 1 and 2, an example; the next cell measures the colour, and how far the pictures go.) That is the order in which the loop settles things, read backwards: in a run from noise the place and the size of the *thing* are settled before its colour, and its edge and surface last. (The plain background, the largest of all, is settled even earlier: lesson 3.) What was settled before the place where you enter is taken from your sketch.

// %% [markdown] lang="zh"
// 先变的是表面和边缘：强度 0.2 时圆还是红的，但已经有了苹果的形状。然后是颜色：0.4 时走到一半，是橄榄色，0.6 时变绿。最后是大小和位置，要到 0.8 和 1。（种子 1 和 2，是个例子；颜色和离草图多远，由下一个单元格来量。）这正是循环里各样东西定下来的顺序，只是倒了过来：从噪声开始时，*东西*的位置和大小先定，然后是颜色，最后才是边缘和表面。（最大的是那片纯色背景，它定得还要早：见第 3 课。）进入循环时已经定下来的东西，都取自你的草图。

// %%
for (seed, of_seed) in [1, 2].iter().zip(drawn.chunks(strengths.len())) {
    let far: Vec<f64> = of_seed.iter().map(|(_, picture)| picture.difference(&sketch)).collect();
    println!("seed {seed}: {far:.0?} levels from the sketch");
    assert!(far[0] < far[1] && far[1] < far[2] && far[2] < far[3] && far[3] < far[4]);
    let middles: Vec<[f64; 3]> = of_seed.iter().map(|(_, picture)| picture.crop(54, 60, 20, 20).mean_colour()).collect();
    println!("seed {seed}: red and green in the middle {:?}", middles.iter().map(|[red, green, _]| (*red as u8, *green as u8)).collect::<Vec<_>>());
    assert!(middles[0][0] > 2.0 * middles[0][1] && middles[2][1] > 1.2 * middles[2][0]);
}

// %% [markdown] lang="en"
// **Predict:** two different sketches, the same prompt, the same seed, strength 1. Do the two pictures differ?

// %% [markdown] lang="zh"
// **先猜一猜：**两张不同的草图，同样的提示词、同样的种子，强度都是 1。两张图会不同吗？

// %%
let night = Picture::from_fn(128, 128, |_, _| [0, 0, 0]);
let mut at_strength_1 = vec![];
for seed in [1, 2, 3] {
    let from = |picture: &Picture| draw(&sd, prompt, seed).init_image(picture).strength(1.0).run()?.image();
    let (red_disc, black) = (from(&sketch)?, from(&night)?);
    println!("seed {seed}: {:.1} levels apart", red_disc.difference(&black));
    assert!((1.0..15.0).contains(&red_disc.difference(&black)));
    at_strength_1.extend([(format!("seed {seed}, from the disc"), red_disc), (format!("seed {seed}, from black"), black)]);
}
sheet(&at_strength_1)

// %% [markdown] lang="en"
// Yes, by 3 to 9 levels of 255: the same apple, a little moved. **Why?** At the first timestep ᾱ is 0.007, so the latents still hold √0.007, a twelfth, of what you gave. Stable Diffusion's noise goes no further either. So strength 1 leaves a trace of a picture there, too.
//
// ## By hand
//
// `img2img_simplified` is `generate_simplified` with another beginning. The three lines after “New” are all that is new; the loop skips the calls before `first`.

// %% [markdown] lang="zh"
// 会，差 255 级中的 3 到 9 级：还是同一个苹果，只是挪动了一点。**为什么？**第一个时间步上 ᾱ 是 0.007，所以潜变量里还留着你那张图的 √0.007，也就是十二分之一。Stable Diffusion 的噪声也只到这里，所以在那里，强度 1 同样会留下一点原图的痕迹。
//
// ## 亲手写
//
// `img2img_simplified` 就是换了开头的 `generate_simplified`。新的只有注释 New 后面的三行；循环则跳过 `first` 之前的调用。

// %%
fn img2img_simplified(sd: &Model, picture: &Picture, strength: f64, prompt: &str, seed: u64) -> Result<Picture> {
    let (steps, guidance_scale) = (25, 5.0);
    let text = sd.text_embeddings(&["", prompt])?;

    // New: begin with the encoded picture, noised to the level of the first call that is made.
    let mut scheduler = sd.scheduler("ddim", steps)?;
    let first = steps - (steps as f64 * strength) as usize;
    let noise = sd.noises(seed, 2).remove(1);
    let mut latents = scheduler.add_noise(&sd.encode(picture, seed)?, &noise, first)?;

    // The same loop, from that call on.
    for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate().skip(first) {
        let input = scheduler.scale_model_input(&latents, call)?.repeat([2, 1, 1, 1]);
        let predicted = sd.predict_noise(&input, timestep, &text)?;
        let noise = guided(&predicted.narrow(0, 0, 1), &predicted.narrow(0, 1, 1), guidance_scale)?;
        latents = scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample;
    }
    sd.decode(&latents)
}

for seed in [1, 2, 3] {
    let ours = img2img_simplified(&sd, &sketch, 0.6, prompt, seed)?;
    let run = draw(&sd, prompt, seed).init_image(&sketch).strength(0.6).scheduler("ddim").run()?;
    assert_eq!(ours.difference(&run.image()?), 0.0);
}

// %% [markdown] lang="en"
// The same picture again, bit for bit. **Why** `sd.noises(seed, 2)`, the *second* noise of the seed? The first was used by `encode`: an encoder gives for each latent a mean and a small spread, and a sample of that is taken.
//
// ## Only a part
//
// With a **mask** only what is white in it is repainted. After each step the rest is put back, taken from your picture and noised to the level just reached.
//
// **Predict:** a red apple on blue, the right half of it masked white, and a prompt that says "a green apple on a yellow background". Half an apple each? Will there be a seam?

// %% [markdown] lang="zh"
// 又是一模一样的图。**为什么**写 `sd.noises(seed, 2)`，用种子的*第二份*噪声？因为第一份给 `encode` 用了：编码器对每个潜变量给出一个均值和一个很小的标准差，再按它们随机取一个值。
//
// ## 只改一部分
//
// 有了**蒙版**，就只重画其中白色的部分。每走一步，其余部分都会换回你的图，并加噪到刚到达的水平。
//
// **先猜一猜：**蓝底上一个红苹果，右半边的蒙版是白的，提示词是 “a green apple on a yellow background”。会各是半个苹果吗？中间会有接缝吗？

// %%
fn right_half(x: u32, _y: u32) -> [u8; 3] {
    if x < 64 { [0, 0, 0] } else { [255, 255, 255] }
}

let apple = draw(&sd, "a red apple on a blue background", 7).run()?.image()?;
let mask = Picture::from_fn(128, 128, right_half);
let mut repainted = vec![("the picture".to_string(), apple.clone()), ("the mask".to_string(), mask.clone())];
for seed in [1, 2, 3] {
    let run = draw(&sd, "a green apple on a yellow background", seed).init_image(&apple).mask(&mask).strength(0.9).run()?;
    repainted.push((format!("seed {seed}"), run.image()?));
}
sheet(&repainted)

// %%
let (left, right) = ((0, 0, 56, 128), (64, 0, 64, 128));
for (seed, picture) in &repainted[2..] {
    let change = |(x, y, width, height)| picture.crop(x, y, width, height).difference(&apple.crop(x, y, width, height));
    println!("{seed}: the left half changed by {:.1} levels, the right by {:.1}", change(left), change(right));
    assert!(change(left) < 10.0 && change(right) > 30.0);
}

// %% [markdown] lang="en"
// The masked half is new. The apple's outline runs on across the border, because the UNet sees both halves at every step; inside the apple the colour changes there abruptly, as it was asked to, and that is the seam. The green does not reach the edge: beside a red half pocket leaves a red rim round it. Nor does the yellow begin quite at the border: below the apple a piece of the blue runs on. (Seeds 1 to 3, an example.) The kept half is not quite the same, because it went through the autoencoder; `--paste` on the command line puts your own pixels back.
//
// ## Exercises
//
// 1. Without running it: 50 steps, strength 0.3. How many calls of the UNet, and beginning at which?
// 2. You have 15 calls to spend. Strength 0.6 of 25 steps, or 0.3 of 50: which keeps more of the sketch?
// 3. Draw the sketch again with the prompt "a cat face on a yellow background", at strengths 0.4 and 0.8. What does the model make of the blue?
// 4. What does `img2img_simplified` draw at strength 0, and what does the library say to `.strength(0.0)`?
//
// <details><summary>Answers</summary>
//
// 1. int(50 × 0.3) = 15 calls, from call 35 on.
// 2. 0.3 of 50: it begins at a lower noise level. How far back you go is the strength; the steps only say in how small pieces.
// 3. At 0.4 a green: the blue lies under too little noise to be forgotten, and the yellow does not win. At 0.8 the background is yellow. A face has taken the place of the disc at both. (Seeds 1 and 2, an example.)
//
//    {answer 3}
//
// 4. The sketch, encoded and decoded, with hardly any noise: the loop has no call left. The library refuses it, because a run without a step is most likely a mistake.
//
//    {answer 4}
//
// </details>

// %% [markdown] lang="zh"
// 重画的一半是新的。苹果的轮廓接得上，因为 UNet 每一步都同时看着两半；苹果里面的颜色则在分界处突然变了，这本来就是提示词要的，接缝就在这里。绿色没有铺到边上：旁边是半个红苹果，pocket 在绿色外面留了一圈红边。黄色也不是正好从分界处开始：苹果下方，蓝色还延伸过去一块。（种子 1 到 3，是个例子。）保留的那一半也不是分毫不差，因为它经过了自编码器；命令行里的 `--paste` 会把你原来的像素贴回去。
//
// ## 练习
//
// 1. 不要运行：50 步、强度 0.3，要调用几次 UNet？从第几次开始？
// 2. 你只想调用 15 次。25 步、强度 0.6，还是 50 步、强度 0.3，哪个保留的草图更多？
// 3. 用提示词 “a cat face on a yellow background”，以强度 0.4 和 0.8 再画这张草图。模型怎么处理那片蓝？
// 4. 强度为 0 时 `img2img_simplified` 画出什么？程序库对 `.strength(0.0)` 又怎么说？
//
// <details><summary>参考答案</summary>
//
// 1. int(50 × 0.3) = 15 次，从第 35 次开始。
// 2. 50 步、强度 0.3：它开始时的噪声水平更低。退回多远由强度决定，步数只决定分成多小的步子。
// 3. 0.4 时变成了绿色：盖在蓝色上的噪声太少，蓝色抹不掉，黄色也赢不了。0.8 时背景成了黄色。两种强度下，圆的位置上都长出了一张脸。（种子 1 和 2，只是一个例子。）
//
//    {answer 3}
//
// 4. 草图编码再解码的样子，噪声几乎没有：循环一次也没走。程序库会拒绝，因为一步都不走的运行多半是写错了。
//
//    {answer 4}
//
// </details>

// %% answer="3"
let mut cats = vec![];
for seed in [1, 2] {
    for strength in [0.4, 0.8] {
        let run = draw(&sd, "a cat face on a yellow background", seed).init_image(&sketch).strength(strength).run()?;
        let picture = run.image()?;
        let [red, green, blue] = picture.crop(0, 0, 12, 12).mean_colour();
        assert!(green > blue && (red > green) == (strength == 0.8));
        cats.push((format!("seed {seed}, strength {strength}"), picture));
    }
}
sheet(&cats)

// %% answer="4"
let untouched = img2img_simplified(&sd, &sketch, 0.0, prompt, 1)?;
println!("{:.1} levels from the sketch", untouched.difference(&sketch));
if let Err(refusal) = draw(&sd, prompt, 1).init_image(&sketch).strength(0.0).run() {
    println!("{refusal}");
}
untouched

// %% [markdown] lang="en"
// ## In the shell
//
//     sdviz trace --prompt "a green apple on a blue background" --init-image sketch.png --strength 0.6
//     sdviz trace --prompt "a green apple on a yellow background" --init-image apple.png --mask mask.png --strength 0.9
//     sdviz sweep --prompt "a green apple on a blue background" --init-image sketch.png --strength 0.2,0.4,0.6,0.8,1
//     cargo run --example img2img_simplified -- sketch.png "a green apple" 0.6 drawn.png
//
// ## In the chapter
//
// | there, in Python | here |
// |---|---|
// | `vae.encode(image).latent_dist.sample(generator) * 0.18215` | `sd.encode(&picture, seed)?` |
// | `t_start = max(num_inference_steps - int(num_inference_steps * strength), 0)` | `steps - (steps as f64 * strength) as usize` |
// | `scheduler.add_noise(latents, noise, timesteps[t_start])` | `scheduler.add_noise(&encoded, &noise, first)` |
// | `for t in timesteps[t_start:]` | `….enumerate().skip(first)` |
// | `img2img_simplified(…)` | `img2img_simplified(…)` |

// %% [markdown] lang="zh"
// ## 在命令行里
//
//     sdviz trace --prompt "a green apple on a blue background" --init-image sketch.png --strength 0.6
//     sdviz trace --prompt "a green apple on a yellow background" --init-image apple.png --mask mask.png --strength 0.9
//     sdviz sweep --prompt "a green apple on a blue background" --init-image sketch.png --strength 0.2,0.4,0.6,0.8,1
//     cargo run --example img2img_simplified -- sketch.png "a green apple" 0.6 drawn.png
//
// ## 对照原书
//
// | 书里的 Python | 这里 |
// |---|---|
// | `vae.encode(image).latent_dist.sample(generator) * 0.18215` | `sd.encode(&picture, seed)?` |
// | `t_start = max(num_inference_steps - int(num_inference_steps * strength), 0)` | `steps - (steps as f64 * strength) as usize` |
// | `scheduler.add_noise(latents, noise, timesteps[t_start])` | `scheduler.add_noise(&encoded, &noise, first)` |
// | `for t in timesteps[t_start:]` | `….enumerate().skip(first)` |
// | `img2img_simplified(…)` | `img2img_simplified(…)` |
