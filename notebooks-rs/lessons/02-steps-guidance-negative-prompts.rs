// %% [markdown] lang="en"
// # Steps, guidance, negative prompts
//
// You will be able to
//
// - choose the number of **steps**, and say what more of them buy;
// - turn the **guidance scale** up and down, and see when it is too much;
// - use a **negative prompt** to take something out of a picture;
// - lay pictures out in a **grid** in which one thing changes along each side.

// %% [markdown] lang="zh"
// # 采样步数、引导系数、负向提示词
//
// 你将学会：
//
// - 选择**采样步数**，并说清楚多走几步换来了什么；
// - 调高或调低**引导系数**，看出什么时候过了头；
// - 用**负向提示词**把某样东西从画面里去掉；
// - 把图排成**网格图**，横向、纵向各只变一个条件。

// %%
use sdviz::prelude::*;
let sd = Model::load("pocket")?;
let prompt = "a red apple on a blue background";

// %% [markdown] lang="en"
// ## Steps
//
// A picture begins as noise, and each **step** takes some of the noise away: the model looks at what is there, guesses the noise in it, and a part of the guess is subtracted. With few steps each has to take away a lot at once. (With a single one there is nothing to see here: this scheduler then asks the model only at the very end of the plan, where hardly any noise is expected, so that hardly any is taken away. Lesson 8 has the plan.)
//
// **Predict:** how many steps does an apple need? Say a number, then look. The noise is the same for all six.

// %% [markdown] lang="zh"
// ## 采样步数
//
// 一张图从噪声开始，每一个**采样步**去掉一部分噪声：模型看一眼当前的样子，猜出里面的噪声，再从中减去猜到的一部分。步数越少，每一步就得一口气去掉越多。（只走一步时，这里什么也看不出来：这个调度器只在计划的最末尾问一次模型，那里几乎不该有噪声，所以也几乎没有去掉什么。计划见第 8 课。）
//
// **先猜一猜：**画一个苹果要几步？先说一个数，再往下看。六张图的初始噪声完全相同。

// %%
let mut by_steps = Vec::new();
for steps in [1, 2, 5, 10, 25, 50] {
    let picture = sd.draw(prompt).seed(7).steps(steps).decode(Decode::Final).run()?.image()?;
    by_steps.push((format!("steps: {steps}"), picture));
}
sheet(&by_steps)

// %% [markdown] lang="en"
// That is one seed, an example. Is it so for others? The next cell measures how far a picture is from the one with 50 steps, for three seeds.
//
// **Predict:** is the way from 5 to 10 steps as long as that from 10 to 25?

// %% [markdown] lang="zh"
// 这只是一个种子的例子。换别的种子也这样吗？下面的单元格对三个种子，分别量一量每张图和 50 步那张图差多少。
//
// **先猜一猜：**从 5 步到 10 步，和从 10 步到 25 步，变化一样大吗？

// %%
for seed in 1..=3 {
    let draw = |steps| sd.draw(prompt).seed(seed).steps(steps).decode(Decode::Final).run()?.image();
    let fifty = draw(50)?;
    let [one, five, ten, many] = [draw(1)?, draw(5)?, draw(10)?, draw(25)?].map(|p| p.difference(&fifty));
    println!("seed {seed}: from 50 steps, 1 step is {one:4.1} levels away, 5 are {five:4.1}, 10 are {ten:4.1}, 25 are {many:4.1}");
    assert!(one > five && five > ten && ten > many);
}

// %% [markdown] lang="en"
// In the mean of the three about as long, although it is a third of the steps: at first five more bring what fifteen bring later.
//
// **Why** does it level off? The steps follow a curve from noise to picture, in straight pieces. Many short pieces lie close to the curve, and still more lie hardly closer. From there on another step costs time and buys nothing that you see. All steps cost the same: 50 take twice as long as 25.
//
// **With Stable Diffusion:** the same, with the same numbers of steps. Published pictures mostly take 20 to 50.

// %% [markdown] lang="zh"
// 三个种子平均下来差不多一样大，虽然步数只有三分之一：开头多走五步，抵得上后来多走十五步。
//
// **为什么**后来变化越来越小？从噪声到图是一条曲线，每一步相当于用一小段直线去逼近它。直线段又多又短，就贴得很近；再加，也近不了多少了。到那以后，多走一步只是多花时间，看不出差别。每一步花的时间都一样：50 步是 25 步的两倍。
//
// **换成 Stable Diffusion：**情形相同，步数的量级也相同。网上常见的图多半是 20 到 50 步画的。

// %% [markdown] lang="en"
// ## Guidance
//
// At each step the model guesses the noise twice: once reading your prompt, once reading an empty one. The difference between both guesses is what the prompt wants changed. The **guidance scale** says how many times that difference is counted:
//
// > guess = empty + scale × (prompt − empty)
//
// At scale 1 this is the guess with the prompt, as it is; above 1 it goes beyond it.
//
// **Predict:** what will scale 1 look like, and what 15? The sheet has a row for each of three seeds, and a column for each scale.

// %% [markdown] lang="zh"
// ## 引导
//
// 每一步，模型都要猜两次噪声：一次看着你的提示词猜，一次看着空的提示词猜。两次猜测之差，就是提示词想要改变的东西。**引导系数**说的是这个差要算几倍：
//
// > 猜测 = 空 + 引导系数 × (提示词 − 空)
//
// 系数为 1，得到的就是带提示词的那次猜测；大于 1，就沿着这个方向走得更远。
//
// **先猜一猜：**系数 1 会画成什么样？15 呢？下面的网格图每行一个种子，每列一个系数。

// %%
let scales = [1.0, 3.0, 5.0, 7.5, 15.0];
let mut by_scale = Vec::new();
for seed in [1, 2, 3] {
    for scale in scales {
        let picture = sd.draw(prompt).seed(seed).guidance_scale(scale).decode(Decode::Final).run()?.image()?;
        by_scale.push((format!("seed {seed}, scale {scale}"), picture));
    }
}
sheet_of(5, &by_scale)

// %% [markdown] lang="en"
// Look down the columns. The next cell measures two things that you see there, in levels: by how much red exceeds green in the middle of each apple, and how far apart the three pictures of a column are, in the mean of the three pairs.

// %% [markdown] lang="zh"
// 竖着一列一列看。下面的单元格把你看到的两件事量出来，单位是级：每个苹果的正中，红比绿高出多少；同一列的三张图，两两之间平均差多少。

// %%
let mut least_red = Vec::new();
let mut spread = Vec::new();
for (column, scale) in scales.iter().enumerate() {
    let [one, two, three] = [0, 1, 2].map(|row| &by_scale[row * scales.len() + column].1);
    let reds = [one, two, three].map(|picture| {
        let [red, green, _] = picture.crop(48, 48, 32, 32).mean_colour();
        red - green
    });
    let pairs = (one.difference(two) + one.difference(three) + two.difference(three)) / 3.0;
    println!("scale {scale:>4}: red above green {reds:.0?}, pictures {pairs:.0} apart");
    least_red.push(reds.into_iter().fold(f64::INFINITY, f64::min));
    spread.push(pairs);
}
assert!(least_red[1..].iter().all(|&least| least > least_red[0] + 20.0));
assert!(spread[1..].iter().all(|&later| later < 0.8 * spread[0]));

// %% [markdown] lang="en"
// At scale 1 each seed has an apple of its own, and that of seed 1 is orange. With guidance all are red, and more alike: **guidance buys obedience, and pays with variety**.
//
// **Why** not turn it up as far as it goes? The difference between the two guesses points the right way, but it is a small arrow, and a model is only right about the places that it has seen in training. Fifteen times the arrow leads where no picture ever was: edges get rough and surfaces blotchy, as in the last column.
//
// **With Stable Diffusion:** 7.5 is usual; at 1 hardly anything looks like what was asked for, and at 15 colours glow and shadows burn. `pocket` behaves otherwise in both: it knows so little that at 1 it still draws most things rightly, if not always in the right colour, and at 15 its colours stay nearly what they are at 3 (in the table: the red). Its own scale is 5.

// %% [markdown] lang="zh"
// 系数为 1 时，每个种子的苹果各不相同，种子 1 的那个是橙色的。加上引导以后，苹果都红了，也更相像了：**引导换来的是听话，付出的是多样性**。
//
// **为什么**不干脆调到最高？两次猜测之差，方向是对的，但它只是一支小箭头，而模型只对训练时见过的地方心里有数。沿着箭头走出十五倍远，就到了从来没有图的地方：边缘变毛，表面起斑，看最后一列就知道。
//
// **换成 Stable Diffusion：**常用 7.5；系数为 1 时几乎不像你要的东西，15 时颜色刺眼、阴影烧焦。`pocket` 在这两头都不一样：它认识的东西太少，系数为 1 时多半也能画对，只是颜色不一定对；系数为 15 时，颜色和系数为 3 时相差无几（见上表里的红）。它自己的默认系数是 5。

// %% [markdown] lang="en"
// ## Negative prompts
//
// The empty prompt in the formula can be replaced. What you write there is what the picture is pushed *away* from: the **negative prompt**.
//
// First, pictures whose prompt says nothing of the background, so that the model chooses. A small function names the colour of the corner.

// %% [markdown] lang="zh"
// ## 负向提示词
//
// 公式里那个“空”的提示词可以换成别的。写在那里的东西，画面会被推着*远离*它：这就是**负向提示词**。
//
// 先画几张提示词没提背景的图，让模型自己选背景。下面有个小函数，用来说出角落是什么颜色。

// %%
fn corner(picture: &Picture) -> [f64; 3] {
    picture.crop(0, 0, 12, 12).mean_colour()
}
fn apart(one: [f64; 3], other: [f64; 3]) -> f64 {
    (0..3).map(|i| (one[i] - other[i]).abs()).sum::<f64>() / 3.0
}
const BACKGROUNDS: [(&str, [f64; 3]); 8] = [
    ("white", [255., 255., 255.]), ("black", [16., 16., 20.]), ("red", [200., 28., 40.]), ("yellow", [255., 222., 60.]),
    ("green", [36., 140., 70.]), ("blue", [40., 90., 215.]), ("purple", [120., 50., 165.]), ("pink", [255., 160., 200.]),
];
fn background(picture: &Picture) -> &'static str {
    let seen = corner(picture);
    let nearest = BACKGROUNDS.iter().min_by(|a, b| apart(a.1, seen).total_cmp(&apart(b.1, seen)));
    nearest.map_or("?", |(name, _)| *name)
}

// %%
let mut before = Vec::new();
for seed in 1..=4 {
    let picture = sd.draw("a red apple").seed(seed).decode(Decode::Final).run()?.image()?;
    before.push((format!("seed {seed}: {}", background(&picture)), picture));
}
sheet(&before)

// %% [markdown] lang="en"
// **Predict:** now each picture gets its own background as a negative prompt, "blue background" where it was blue. The noise stays the same. Will the background go? Will the apple stay?

// %% [markdown] lang="zh"
// **先猜一猜：**现在把每张图自己的背景写进负向提示词：原来是蓝的，就写 “blue background”。噪声不变。背景会变吗？苹果还在吗？

// %%
let mut after = Vec::new();
for (seed, (_, picture)) in (1..).zip(&before) {
    let unwanted = background(picture);
    let drawing = sd.draw("a red apple").negative_prompt(format!("{unwanted} background"));
    let picture = drawing.seed(seed).decode(Decode::Final).run()?.image()?;
    assert_ne!(background(&picture), unwanted);
    after.push((format!("not {unwanted}: {}", background(&picture)), picture));
}
sheet(&after)

// %% [markdown] lang="en"
// The background goes, from every seed tried here (and from all of 64 in the model's own test). The apple stays, though it is another: from seeds 1 and 3 a smaller one. (Of those 64 things, 63 were drawn rightly before, and 63 with the negative prompt.) A push away from something is a push towards something else, and nobody said towards what: here green became red, and blue yellow. The wording counts, too. In seed 4, an example, "blue" moves the blue and "a blue sky" does not: `pocket` is a poor reader.
//
// **With Stable Diffusion:** people write long lists of what they do not want ("blurry, extra fingers"). Each word pushes. Whether it pushes in a useful direction, only a comparison under the same seed shows.
//
// A negative prompt needs guidance. At scale 1 the formula keeps only the guess with the prompt, and the other one drops out.

// %% [markdown] lang="zh"
// 这里试过的每个种子，背景都换掉了（在模型自己的测试里，64 张也都换掉了）。苹果都还在，但不是原来那个了：种子 1 和种子 3 的变小了。（那 64 样东西，原来画对了 63 样，加上负向提示词后也是 63 样。）把画面从一个地方推开，就是推向另一个地方，而推向哪里，谁也没有说：这里绿的变成了红的，蓝的变成了黄的。措辞也有关系：种子 4 的蓝色，“a blue sky” 推不动，“blue” 就推动了（这只是一个例子）。`pocket` 的阅读能力很有限。
//
// **换成 Stable Diffusion：**人们常写一长串不想要的东西（“blurry, extra fingers”）。每个词都会推一把；推的方向有没有用，只有在同一个种子下对比才知道。
//
// 负向提示词要靠引导才起作用。系数为 1 时，公式里只剩下带提示词的那次猜测，另一次就消掉了。

// %%
for seed in [1, 2, 3] {
    let plain = sd.draw("a red apple").seed(seed).steps(5).guidance_scale(1.0).decode(Decode::Final);
    let negative = plain.clone().negative_prompt("blue background");
    assert!(plain.run()?.image()?.difference(&negative.run()?.image()?) < 0.01);
}

// %% [markdown] lang="en"
// ## Grids
//
// To see what a setting does, change it and nothing else. To see whether that holds, change one thing more, the seed or the prompt. A grid does both: along each row the steps change, down each column the prompt.

// %% [markdown] lang="zh"
// ## 网格图
//
// 想看一个设置起什么作用，就只改它，别的都不动。想知道这个作用是不是普遍成立，就再换一样：种子，或者提示词。网格图能同时做到：下面横着看，变的是步数；竖着看，变的是提示词。

// %%
let mut cells = Vec::new();
for thing in ["a cat face", "a rocket", "a sunflower"] {
    for steps in [3, 8, 25] {
        let drawing = sd.draw(format!("{thing} on a yellow background")).seed(3).steps(steps).decode(Decode::Final);
        cells.push((format!("{thing}: {steps}"), drawing.run()?.image()?));
    }
}
sheet_of(3, &cells)

// %% [markdown] lang="en"
// ## Exercises
//
// 1. Take away the grid's seed (`.seed(3)`). What can you no longer say about its columns?
// 2. What would a *negative* scale do, −3? Predict from the formula first. The library refuses it. Which two texts would you exchange to see it all the same, and at what scale?
// 3. Find the smallest number of steps at which you would hand in the rocket. Is it the same at scale 10?
//
// <details><summary>Answers</summary>
//
// 1. Every picture then has its own noise, and what differs between two columns may be the steps or the chance.
// 2. The formula walks from the prompt's guess back through the empty one and beyond: away from the prompt. The picture becomes something that is as little an apple on blue as the model can. Exchange the prompt and the empty one: empty − 3 × (prompt − empty) is the same as prompt + 4 × (empty − prompt). So it is the empty prompt, with the other as a negative one, at scale 4:
//
//    {answer 2}
//
// 3. There is no right answer, but there is a way: a row for each scale, and the same again under two or three seeds. Look whether a high scale needs more: each step's correction is larger, and the straight pieces cut more off the bends.
//
//    {answer 3}
//
// </details>

// %% [markdown] lang="zh"
// ## 练习
//
// 1. 把网格图里的种子（`.seed(3)`）去掉。关于各列之间的差别，哪些话就不能再说了？
// 2. 引导系数取*负数*会怎样，比如 −3？先根据公式猜。程序库不接受负数；把哪两段文本对调、系数取多少，就照样看得到？
// 3. 找出你觉得火箭“可以交差”的最少步数。系数换成 10，还是这个步数吗？
//
// <details><summary>参考答案</summary>
//
// 1. 这时每张图的噪声都不同，两列之间的差别，可能来自步数，也可能只是随机。
// 2. 按公式，会从带提示词的猜测退回来，穿过空提示词，再继续往外走：远离提示词。画出来的东西会尽量不像蓝底上的苹果。把提示词和空提示词对调就行：空 − 3 × (提示词 − 空) 等于 提示词 + 4 × (空 − 提示词)。所以提示词留空，把原来那句写成负向提示词，系数用 4：
//
//    {answer 2}
//
// 3. 没有标准答案，但有办法：每个系数画一排，再换两三个种子重来。看看系数高了，步数是不是也要多：每一步的修正更大，直线段在弯道上抄的近路也就更多。
//
//    {answer 3}
//
// </details>

// %% answer="2"
let mut away = Vec::new();
for seed in 1..=3 {
    let drawing = sd.draw("").negative_prompt(prompt).guidance_scale(4.0).seed(seed).decode(Decode::Final);
    let picture = drawing.run()?.image()?;
    assert_ne!(background(&picture), "blue");
    away.push((format!("seed {seed}"), picture));
}
sheet(&away)

// %% answer="3"
let mut rockets = Vec::new();
for scale in [5.0, 10.0] {
    for steps in [3, 4, 6, 8, 10, 14] {
        let drawing = sd.draw("a rocket on a yellow background").seed(3).steps(steps).guidance_scale(scale);
        rockets.push((format!("scale {scale}, steps {steps}"), drawing.decode(Decode::Final).run()?.image()?));
    }
}
sheet(&rockets)

// %% [markdown] lang="en"
// ## In the shell
//
//     sdviz sweep --prompt "a red apple on a blue background" --steps 1,2,5,10,25,50 --seed 7
//     sdviz sweep --prompt "a red apple on a blue background" --guidance-scale 1,3,5,7.5,15 --seed 1-3
//     sdviz trace --prompt "a red apple" --negative-prompt "purple background" --seed 1
//
// ## In the chapter
//
// | there, in Python | here |
// |---|---|
// | `pipe(prompt, num_inference_steps=5)` | `sd.draw(prompt).steps(5).run()?` |
// | `pipe(prompt, guidance_scale=3.0)` | `sd.draw(prompt).guidance_scale(3.0).run()?` |
// | `pipe(prompt, negative_prompt="…")` | `sd.draw(prompt).negative_prompt("…").run()?` |
// | `image_grid(images, rows, cols)` | `sheet_of(cols, &pictures)` |

// %% [markdown] lang="zh"
// ## 在命令行里
//
//     sdviz sweep --prompt "a red apple on a blue background" --steps 1,2,5,10,25,50 --seed 7
//     sdviz sweep --prompt "a red apple on a blue background" --guidance-scale 1,3,5,7.5,15 --seed 1-3
//     sdviz trace --prompt "a red apple" --negative-prompt "purple background" --seed 1
//
// ## 对照原书
//
// | 书里的 Python | 这里 |
// |---|---|
// | `pipe(prompt, num_inference_steps=5)` | `sd.draw(prompt).steps(5).run()?` |
// | `pipe(prompt, guidance_scale=3.0)` | `sd.draw(prompt).guidance_scale(3.0).run()?` |
// | `pipe(prompt, negative_prompt="…")` | `sd.draw(prompt).negative_prompt("…").run()?` |
// | `image_grid(images, rows, cols)` | `sheet_of(cols, &pictures)` |
