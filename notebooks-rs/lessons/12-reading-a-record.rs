// %% [markdown] lang="en"
// # Reading a record
//
// You will be able to
//
// - open the folder that a run has left, without the model that drew it;
// - find in it what lessons 3, 4 and 7 looked at: pictures, latents, predictions, shapes;
// - follow the way from noise to picture through a thousand dimensions, and say in how many of them it runs;
// - read the latents of a run that kept no pictures.
//
// Nothing is drawn here, so neither a model nor libtorch, the library that computes with tensors, is needed. This lesson has a kernel of its own, *Rust (sdviz without libtorch)*; `make notebooks-reader` sets up that one alone. (With the kernel of the other lessons it runs just as well.)

// %% [markdown] lang="zh"
// # 读一份记录
//
// 你将学会：
//
// - 没有当初画图的模型，也能打开一次运行留下的文件夹；
// - 在里面找到第 3、4、7 课看过的东西：图、潜变量、预测、形状；
// - 跟着从噪声到图的路走过一千维的空间，并说出它其实只用了几维；
// - 读一次没有留下图的运行的潜变量。
//
// 这里什么也不画，所以既不要模型，也不要 libtorch（负责张量计算的程序库）。这一课有自己的内核 *Rust (sdviz without libtorch)*；`make notebooks-reader` 只准备这一个。（用其他各课的内核也一样能运行。）

// %%
use sdviz::prelude::*;
let run = Run::open("runs/apple")?;
run

// %% [markdown] lang="en"
// ## Where it comes from
//
// `runs/` lies beside this notebook. Somebody with a model made it, once, with two commands:
//
//     sdviz trace --prompt "a red apple on a blue background" --seed 7 --steps 14 --decode 2 \
//       --record latents,predicted_original --decode-what latents,x0 --no-report --out runs/apple
//     sdviz trace --prompt "a rocket on a black background" --seed 3 --steps 14 --decode final \
//       --record latents,predicted_original --no-report --out runs/rocket
//
// A run of your own does as well, of Stable Diffusion too: put its folder's path into `Run::open`, and its number of steps where 14 stands below.
//
// **Predict:** what must be in such a folder so that the picture could be drawn again? And what more, so that every step can be looked at?

// %% [markdown] lang="zh"
// ## 它从哪里来
//
// `runs/` 就在这个笔记本旁边。有模型的人用两条命令做好了它，只做了一次：
//
//     sdviz trace --prompt "a red apple on a blue background" --seed 7 --steps 14 --decode 2 \
//       --record latents,predicted_original --decode-what latents,x0 --no-report --out runs/apple
//     sdviz trace --prompt "a rocket on a black background" --seed 3 --steps 14 --decode final \
//       --record latents,predicted_original --no-report --out runs/rocket
//
// 你自己的运行也行，Stable Diffusion 的也行：把文件夹的路径写进 `Run::open`，再把下面的 14 换成它的步数。
//
// **先猜一猜：**这样的文件夹里要有什么，才能把图重新画出来？还要有什么，才能看到每一步？

// %%
println!("{}\n", run.text());
for folder in ["runs/apple", "runs/apple/steps"] {
    let mut names = vec![];
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    println!("{folder}: {}", names.join(" "));
}
run.filmstrip()?

// %% [markdown] lang="en"
// The text above says how to draw it again: prompt, seed, settings, all from `run.json`. For each step there is a file of numbers (`.safetensors`) and, since every second step was decoded, for every second one a picture. Under each picture stands σ, how strong the noise still is beside the picture (lesson 8). `docs/run-format.md` describes every file.
//
// ## The latents, in false colours
//
// Lesson 4: the loop works on latents of four channels, and a screen has three colours.
//
// **Predict:** there are 24 ways to take three of four channels as red, green and blue. In how many of them do you recognise the apple?

// %% [markdown] lang="zh"
// 上面的文字说的是怎样重新画出它：提示词、种子、设置，都来自 `run.json`。每一步都有一个装着数的文件（`.safetensors`）；因为隔一步解码一次，每两步还有一张图。图下标着 σ，也就是剩下的噪声是画面的几倍强（第 8 课）。每个文件的说明都在 `docs/run-format.md` 里。
//
// ## 潜变量，假的颜色
//
// 第 4 课讲过：循环处理的潜变量有四个通道，而屏幕只有三种颜色。
//
// **先猜一猜：**四个通道里选三个当作红、绿、蓝，一共 24 种选法。有几种认得出苹果？

// %%
let start = run.latents(0)?;
let end = run.latents(14)?;
assert_eq!(start.shape(), end.shape());
println!("start {start}\nend   {end}");
end.mappings()?

// %% [markdown] lang="en"
// In all of them, if you ask for shapes: the colours are arbitrary, what lies where is not. And the way there, with the channels 0, 1 and 3:

// %% [markdown] lang="zh"
// 只看形状，每一种都认得出：颜色是随意定的，什么在哪里却不是。再看一路上的变化，用的是通道 0、1、3：

// %%
run.video("latents")?.channels([0, 1, 3]).fps(5.0).size(128)

// %% [markdown] lang="en"
// ## The way, as a line
//
// One step's latents are 4 × 16 × 16 = 1,024 numbers: a point in a space of 1,024 dimensions. A run is a way through it, from the noise to the end. Two points and the origin, where all numbers are 0, span a **plane**, which fits on paper.
//
// **Predict:** take the plane through the origin, the start and the end. What share of the latents (of their squared length) lies outside it: hardly any, half, or almost all?

// %% [markdown] lang="zh"
// ## 把路画成一条线
//
// 一步的潜变量是 4 × 16 × 16 = 1,024 个数：1,024 维空间里的一个点。一次运行就是穿过这个空间的一条路，从噪声走到终点。两个点加上原点（所有的数都是 0 的那一点）确定一个**平面**，平面就画得到纸上了。
//
// **先猜一猜：**取过原点、起点和终点的平面。潜变量有多大一份（按长度的平方算）在它外面：几乎没有、一半，还是几乎全部？

// %%
run.plot("plane")?

// %%
// The share of a step's squared length that lies outside the plane through the origin, the start and the end.
fn outside(run: &Run, step: usize) -> Result<f64> {
    let point = |step| -> Result<Vec<f64>> { Ok(run.latents(step)?.array().iter().map(|x| f64::from(*x)).collect()) };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let unit = |a: Vec<f64>| -> Vec<f64> { a.iter().map(|x| x / dot(&a, &a).sqrt()).collect() };
    let (start, here, to_end) = (point(0)?, point(step)?, unit(point(14)?));
    // Of the start, only what does not already point to the end.
    let along = dot(&start, &to_end);
    let across = unit(start.iter().zip(&to_end).map(|(s, e)| s - along * e).collect());
    Ok(1.0 - (dot(&here, &to_end).powi(2) + dot(&here, &across).powi(2)) / dot(&here, &here))
}

let rocket = Run::open("runs/rocket")?;
for (name, run) in [("apple", &run), ("rocket", &rocket)] {
    let mut percent = vec![];
    for step in 1..14 {
        percent.push(100.0 * outside(run, step)?);
    }
    println!("{name:<6} {percent:.1?} % outside, steps 1 to 13");
    assert!(percent.iter().all(|outside| *outside < 10.0));
}

// %% [markdown] lang="en"
// Hardly any: under a tenth of the squared length, in every step, for both runs. **Why?** What is in the latents is noise and picture in changing shares (lesson 5). The noise is the start, the picture is nearly the end, and mixtures of the two lie in their plane. What lies outside is what the model changed its mind about on the way.
//
// Nobody has told the next figure which plane to take. It looks for the directions in which the points of the way differ most, the **principal components** (PCA).
//
// **Predict:** of all the difference between the points, how much do the first two components hold?

// %% [markdown] lang="zh"
// 几乎没有：两次运行，每一步在外面的都不到长度平方的十分之一。**为什么？**潜变量里装的是噪声和画面，只是两者的份额在变（第 5 课）。噪声就是起点，画面几乎就是终点，两者的混合都落在它们的平面里。落在外面的，是模型半路上改了主意的部分。
//
// 下面这幅图没有人告诉它该取哪个平面。它自己去找这些点彼此差别最大的方向，叫作**主成分**（PCA）。
//
// **先猜一猜：**各点之间的全部差别里，前两个主成分占多少？

// %%
run.plot("pca")?

// %% [markdown] lang="en"
// Nearly all (one run, an example; the second panel counts it). And the way is a bow, as it must be where one thing fades in while another fades out.
//
// ## What was expected
//
// The predicted originals (x0, lesson 3) were kept too: what the model took the finished picture to be, at each step.
//
// **Predict:** which is nearer to the last one half-way through: the latents of step 7, or the prediction of step 7?

// %% [markdown] lang="zh"
// 几乎全部（一次运行，只是一个例子；第二格数的就是它）。路是一段弧：一样东西淡入、另一样淡出，本来就该如此。
//
// ## 它心里想的图
//
// 预测的原图（x0，第 3 课）也留下了：每一步，模型以为成品会是什么样子。
//
// **先猜一猜：**走到一半时，哪一个离最后的更近：第 7 步的潜变量，还是第 7 步的预测？

// %%
for (name, run) in [("apple", &run), ("rocket", &rocket)] {
    let far = |what: Quantity| -> Result<f32> {
        let at = |step| run.tensors(step, what).map(|kept| kept.unwrap_or_default());
        let (here, last) = (at(7)?, at(14)?);
        let size = |array: Array4<f32>| array.mapv(|x| x * x).sum().sqrt();
        Ok(100.0 * size(&here - &last) / size(last))
    };
    let (latents, predicted) = (far(Quantity::Latents)?, far(Quantity::PredictedOriginal)?);
    println!("{name:<6} step 7 is {latents:.0} % of its size from the end, its prediction {predicted:.0} %");
    assert!(predicted < latents / 1.5);
}
run.video("predicted")?.fps(3.0).size(128)

// %% [markdown] lang="en"
// The prediction, by far. It is the part of the point that is picture already.
//
// ## The shapes of a run
//
// A run also notes the shape of each tensor that comes by: the **shape log**. Here is its short form, from tokens to pixels; `run.shapes()?` without `.brief()` has every module of the networks (lesson 7).

// %% [markdown] lang="zh"
// 是预测，近得多。它就是那个点里已经是画面的部分。
//
// ## 一次运行的形状
//
// 运行还会记下经过的每个张量的形状：**形状日志**。下面是它的短表，从词元到像素；去掉 `.brief()`，`run.shapes()?` 里有网络的每一个模块（第 7 课）。

// %%
let shapes = run.shapes()?;
assert_eq!(shapes.of("tokens"), rocket.shapes()?.of("tokens"));
shapes.brief()

// %% [markdown] lang="en"
// ## Pictures without a decoder
//
// The rocket's run decoded only its last step, to save time. Its latents are all there. Lesson 4 fitted a linear map from latents to colours, fifteen numbers.
//
// **Predict:** fit the map on the *apple's* pictures, which are red, blue and green, and paint the rocket on black with it. What will be right, the shape or the colours?

// %% [markdown] lang="zh"
// ## 不用解码器的图
//
// 火箭那次运行为了省时间，只解码了最后一步，潜变量却都在。第 4 课拟合过一个从潜变量到颜色的线性映射，只有十五个数。
//
// **先猜一猜：**用*苹果*的图（红、蓝、绿）拟合出映射，拿它来画黑底的火箭。对的会是什么，形状还是颜色？

// %%
let map = run.preview()?;
let mut painted = vec![];
for step in [0, 4, 8, 11, 14] {
    let latents = rocket.latents(step)?;
    let picture = Picture::from(map.map().paint(latents.array().index_axis(Axis(0), 0))?);
    painted.push((format!("step {step}"), picture.magnified(8)));
}
painted.push(("decoded".to_string(), rocket.image()?));
sheet_of(3, &painted)

// %% [markdown] lang="en"
// The shape (one run, an example). The colours are guesses wherever the apple has taught the map nothing: it has never seen black.
//
// ## Exercises
//
// 1. `rocket.step_image(8)?` fails. Why, and what should have been asked for when the run was made?
// 2. How far is the way from a straight line? Take the point half-way between `rocket.latents(0)?` and `rocket.latents(14)?` and compare it with `rocket.latents(7)?`: how far apart are they, in percent of the size of step 7?
// 3. Draw the apple's and the rocket's way in one figure: `plot_runs("pca", &[&run, &rocket])?`. Do they begin at the same place?
//
// <details><summary>Answers</summary>
//
// 1. Step 8 was not decoded, and the record cannot give what it has not. `--decode every` would have kept it, `--decode 2` as well.
//
//    The error says what is missing, its hint what is there:
//
//    {answer 1}
//
// 2. About a third of its size: the way is bent outwards. Along it the length stays about the same, while the middle of a straight line is shorter (the assertion).
//
//    {answer 2}
//
// 3. They are apart from the beginning: each starts in a noise of its own and ends at a picture of its own (two runs, an example). The steps of both are one cloud of points to it, so it also finds directions in which the two differ.
//
//    {answer 3}
//
// </details>

// %% [markdown] lang="zh"
// 形状（一次运行，只是一个例子）。凡是苹果没教过的颜色，这个映射都只能猜：它从没见过黑色。
//
// ## 练习
//
// 1. `rocket.step_image(8)?` 会失败。为什么？当初运行时该怎么要求？
// 2. 这条路离直线有多远？取 `rocket.latents(0)?` 和 `rocket.latents(14)?` 的中点，和 `rocket.latents(7)?` 比：相差第 7 步大小的百分之几？
// 3. 把苹果和火箭的路画在一幅图里：`plot_runs("pca", &[&run, &rocket])?`。它们的起点相同吗？
//
// <details><summary>参考答案</summary>
//
// 1. 第 8 步没有解码；记录里没有的东西，它给不出来。`--decode every` 会把它留下，`--decode 2` 也会。
//
//    错误说缺什么，它的提示（hint）说有什么：
//
//    {answer 1}
//
// 2. 大约三分之一：路是向外弯的。一路上长度差不多不变，而直线的中点要短一些（断言检验的就是这一点）。
//
//    {answer 2}
//
// 3. 从一开始就是分开的：各自从自己的噪声出发，走到自己的图（两次运行，只是一个例子）。两次运行的步子在它看来是同一堆点，所以它找到的方向里也有两者之间的差别。
//
//    {answer 3}
//
// </details>

// %% answer="1"
if let Err(refusal) = rocket.step_image(8) {
    println!("{refusal}\nhint: {}", refusal.hint().unwrap_or_default());
}

// %% answer="2"
for (name, run) in [("apple", &run), ("rocket", &rocket)] {
    let (start, seventh, end) = (run.latents(0)?, run.latents(7)?, run.latents(14)?);
    let middle = (start.array() + end.array()) / 2.0;
    let size = |array: &Array4<f32>| array.mapv(|x| x * x).sum().sqrt();
    println!("{name:<6} {:.0} % from the straight line", 100.0 * size(&(&middle - seventh.array())) / size(seventh.array()));
    assert!(size(&middle) < size(seventh.array()));
}

// %% answer="3"
plot_runs("pca", &[&run, &rocket])?

// %% [markdown] lang="en"
// ## In the shell
//
//     sdviz report runs/apple                                # one page to explore it in
//     sdviz filmstrip runs/apple
//     sdviz latents runs/apple --channels 0,1,3              # an animation; --sheet for all 24 ways
//     sdviz plot runs/apple runs/rocket --what plane,pca
//     sdviz shapes runs/apple
//     sdviz export runs/apple --all                          # everything that can be drawn of it
//
// ## In the chapter
//
// | there, in Python | here |
// |---|---|
// | `torch.save(latents_reservoir, "latents.pt")`, `torch.load(…)` | the run's folder, `Run::open(folder)?` |
// | `safetensors.numpy.load_file("run/steps/007.safetensors")["latents"]` | `run.latents(7)?.array()` |
// | `sklearn.decomposition.PCA(2).fit_transform(latents)` | `run.plot("pca")?` |

// %% [markdown] lang="zh"
// ## 在命令行里
//
//     sdviz report runs/apple                                # 一个可以到处翻看的网页
//     sdviz filmstrip runs/apple
//     sdviz latents runs/apple --channels 0,1,3              # 动画；--sheet 是全部 24 种选法
//     sdviz plot runs/apple runs/rocket --what plane,pca
//     sdviz shapes runs/apple
//     sdviz export runs/apple --all                          # 能画的全部画出来
//
// ## 对照原书
//
// | 书里的 Python | 这里 |
// |---|---|
// | `torch.save(latents_reservoir, "latents.pt")`，`torch.load(…)` | 运行的文件夹，`Run::open(folder)?` |
// | `safetensors.numpy.load_file("run/steps/007.safetensors")["latents"]` | `run.latents(7)?.array()` |
// | `sklearn.decomposition.PCA(2).fit_transform(latents)` | `run.plot("pca")?` |
