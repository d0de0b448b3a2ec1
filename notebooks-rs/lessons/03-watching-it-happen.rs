// %% [markdown] lang="en"
// # Watching it happen
//
// You will be able to
//
// - look at a picture after every step, not only at the end;
// - play the steps as an **animation** in the notebook;
// - collect what you want of a run with an **observer** of your own, and stop a run early;
// - read the model's **prediction** of the finished picture, which it has at every step.

// %% [markdown] lang="zh"
// # 看着它画出来
//
// 你将学会：
//
// - 不只看结果，而是每走一步都看一眼；
// - 在笔记本里把这些步骤放成**动画**；
// - 写一个自己的**观察者**，从运行过程中收集想要的东西，还能中途叫停；
// - 读懂模型对成品的**预测**：每走一步，它都有一个。

// %%
use sdviz::prelude::*;
let sd = Model::load("pocket")?;
let prompt = "a red apple on a blue background";

// %% [markdown] lang="en"
// ## Every step
//
// A run keeps a **record**: what it worked on after every step, and the picture that this would be if it stopped there. Step 0 is the noise before the first step, step 25 the end. `record(All)` keeps all that can be kept.
//
// **Predict:** at which of the 25 steps will you see that it is an apple? And at which that the background is blue? (The sheet shows twelve of the 26.)

// %% [markdown] lang="zh"
// ## 每一步
//
// 一次运行会留下**记录**：每走一步之后手里的东西，以及如果就此停下会得到的图。第 0 步是还没开始时的噪声，第 25 步是终点。`record(All)` 就是能留的都留下。
//
// **先猜一猜：**25 步里，走到第几步你能看出这是苹果？走到第几步能看出背景是蓝的？（下面从 26 张里挑了 12 张。）

// %%
let run = sd.draw(prompt).seed(7).record(All).run()?;
run.images()?

// %% [markdown] lang="en"
// ## As an animation
//
// Every second step, five of them a second.

// %% [markdown] lang="zh"
// ## 放成动画
//
// 隔一步取一张，每秒放五张。

// %%
run.video("images")?.fps(5.0).every(2).size(128)

// %% [markdown] lang="en"
// For a long time nothing seems to happen, and then everything at once. Is it so for the model, too? Keep the question; a later section answers it.

// %% [markdown] lang="zh"
// 好像很久都没有动静，然后一下子全出来了。在模型眼里也是这样吗？先记下这个问题，后面有一节来回答。

// %% [markdown] lang="en"
// ## Two reservoirs
//
// The record can be taken as two plain lists, called **reservoirs**, with one entry a step: what the loop worked on (the **latents**, small arrays of numbers that lesson 4 opens), and the pictures that were **decoded** from it, turned into pixels. An entry of the second list is the step's number and its pictures; here there is one.

// %% [markdown] lang="zh"
// ## 两个储存池
//
// 这份记录可以取成两个普通的列表，叫作**储存池**，每一步一项：一个装循环里处理的东西（**潜变量**，一种小小的数组，第 4 课会打开它），另一个装由它**解码**出来的图，也就是变成了像素的图。第二个列表的每一项是步数和这一步的图，这里只有一张。

// %%
let latents_reservoir = run.latents_reservoir()?;
let image_reservoir = run.image_reservoir()?;
println!("{} latents, each {:?}", latents_reservoir.len(), latents_reservoir[0].shape());
println!("{} pictures, each {:?}", image_reservoir.len(), image_reservoir[0].1[0].dimensions());
assert_eq!(latents_reservoir.len(), 26);
assert_eq!(image_reservoir.len(), 26);

// %% [markdown] lang="en"
// ## An observer of your own
//
// Who fills those lists? An **observer**: something that the run tells of every step. In Rust, `Observer` is a trait, a list of functions that a type promises to have; whatever type has them can watch. There are two. `wants` is asked beforehand, so that nothing is copied or decoded for nobody: an `Ask` says what there would be to see, such as the picture decoded of `Quantity::Latents`. `on_event` is shown what was asked for, an `Event`, and answers with a `Flow`: whether the run goes on.
//
// This one keeps the decoded pictures, as the record does, but only of every tenth step, and notes how much noise is left: σ (sigma), the strength of the noise beside that of the picture. At σ = 1 both are equally strong, at 0 no noise is left; lesson 8 has more of it. (An observer is also shown what others asked for. With `Decode::Final` the record asks for the last picture alone.)

// %% [markdown] lang="zh"
// ## 自己写一个观察者
//
// 是谁在往这些列表里装东西？是**观察者**：每走一步，运行过程都会告诉它。在 Rust 里，`Observer` 是一个 trait，也就是一份函数清单；哪个类型实现了这些函数，就可以当观察者。函数一共两个。事先会问它的 `wants`，免得白白复制、白白解码：`Ask` 说的是有什么可看，比如由 `Quantity::Latents` 解码出来的图。`on_event` 会看到它要的东西（一个 `Event`），再用 `Flow` 回答要不要继续。
//
// 下面这个观察者和记录一样保留解码的图，但每十步才留一张；它还会记下还剩多少噪声：σ（读作 sigma），也就是噪声的强度是画面的几倍。σ = 1 时两者一样强，σ = 0 时没有噪声了；第 8 课还会细讲。（别人要的东西，观察者也会看到。用了 `Decode::Final`，记录自己就只要最后一张图。）

// %%
#[derive(Default)]
struct EveryTenth {
    pictures: Vec<(String, Picture)>,
}

impl Observer for EveryTenth {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Picture { what: Quantity::Latents, step, .. } if step % 10 == 0)
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        if let Event::Step(step) = event {
            if let Some(pictures) = step.pictures(Quantity::Latents) {
                let label = format!("step {}, σ {:.2}", step.index, step.level.sigma);
                self.pictures.push((label, pictures[0].clone().into()));
            }
        }
        Ok(Flow::Continue)
    }
}

// %%
let mut watcher = EveryTenth::default();
sd.draw(prompt).seed(7).decode(Decode::Final).watched(&mut watcher)?;
sheet(&watcher.pictures)

// %% [markdown] lang="en"
// Watching changes nothing. The picture is the same with an observer as without.

// %% [markdown] lang="zh"
// 观察不会改变任何东西。有没有观察者，画出来的图都一样。

// %%
for seed in [1, 2, 3] {
    let drawing = sd.draw(prompt).seed(seed).steps(10).decode(Decode::Final);
    assert_eq!(drawing.watched(&mut EveryTenth::default())?.image()?, drawing.run()?.image()?);
}

// %% [markdown] lang="en"
// ## Stop early
//
// **Predict:** an observer that answers `Flow::Stop` at step 12 ends the run there, half-way. Half an apple, a pale apple, or no apple?

// %% [markdown] lang="zh"
// ## 中途叫停
//
// **先猜一猜：**让观察者在第 12 步回答 `Flow::Stop`，运行就停在半路。会得到半个苹果、一个淡淡的苹果，还是没有苹果？

// %%
struct StopAt(usize);

impl Observer for StopAt {
    fn wants(&self, _ask: Ask) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        match event {
            Event::Step(step) if step.index == self.0 => Ok(Flow::Stop),
            _ => Ok(Flow::Continue),
        }
    }
}

// %%
let stopped = sd.draw(prompt).seed(7).record(All).watched(&mut StopAt(12))?;
let half_way = stopped.step_image(12)?;
assert_eq!(stopped.steps_recorded(), 13);
assert_eq!(half_way, run.step_image(12)?);
half_way

// %% [markdown] lang="en"
// A whole apple, under noise: every step works on the whole picture, and the noise is what the steps left out would have taken away.
//
// ## What the model expects
//
// At every step the model guesses the noise. Take *all* of the guessed noise away, not only a step's worth, and what is left is the model's guess at the finished picture: the **predicted original**, x0 for short. `record(All)` kept it. (All that a run can keep is called a `Quantity`; this one is `Quantity::PredictedOriginal`.)
//
// **Predict:** the pictures in the upper row you know. In the lower row are the predictions of the same run. When does the lower row look like an apple: sooner, at the same time, later?

// %% [markdown] lang="zh"
// 是一个完整的苹果，只是盖着噪声：每一步处理的都是整张图，没走的那些步本来会把这些噪声去掉。
//
// ## 模型心里想的图
//
// 每一步，模型都在猜噪声。如果把猜到的噪声*全部*减掉，而不只是减去一步的份量，剩下的就是模型对成品的猜测：**预测的原图**，简称 x0。`record(All)` 把它也记下来了。（一次运行能保留的每一种东西都叫一个 `Quantity`，这一种是 `Quantity::PredictedOriginal`。）
//
// **先猜一猜：**下面第一排你已经见过，第二排是同一次运行里的预测。第二排会更早、同时，还是更晚看出苹果？

// %%
let mut rows = Vec::new();
for k in [1, 4, 16] {
    rows.push((format!("step {k}"), run.step_image(k)?));
}
for k in [1, 4, 16] {
    rows.push((format!("expected at {k}"), run.predicted_image(k)?));
}
sheet_of(3, &rows)

// %%
run.video("predicted")?.fps(5.0).every(2).size(128)

// %% [markdown] lang="en"
// Much sooner. The first predictions are blurred: an average of all that may still come. Then the large things are settled, the colour of the background first, and the small ones last. The picture itself hides this, because it still carries noise that will be gone.
//
// As a claim over three seeds: after 4 of 25 steps the predicted corner is blue already, and the prediction is at most half as far from the end as the picture, which is still noise.

// %% [markdown] lang="zh"
// 早得多。最初的预测是模糊的：它是所有还可能出现的图的平均。接着大的东西先定下来，最先是背景颜色，小的细节最后才定。画面本身看不出这些，因为它还带着以后会去掉的噪声。
//
// 下面对三个种子检验：25 步里只走了 4 步，预测的原图的角落就已经是蓝色；预测离终点的距离，也不到画面的一半，因为画面还满是噪声。

// %%
for seed in 1..=3 {
    let run = sd.draw(prompt).seed(seed).record(All).decode(Every(4)).run()?;
    let [red, green, blue] = run.predicted_image(4)?.crop(0, 0, 12, 12).mean_colour();
    let end = run.image()?;
    let (picture, prediction) = (run.step_image(4)?.difference(&end), run.predicted_image(4)?.difference(&end));
    println!("seed {seed}, step 4: the picture is {picture:.0} levels from the end, the prediction {prediction:.0}");
    assert!(blue > red && blue > green && prediction < picture / 2.0);
}

// %% [markdown] lang="en"
// ## How much each step changes
//
// The curve follows the predicted original: how far each step moves it, in percent of its size.
//
// **Predict:** is it the early steps that move it most, or the late ones, where so much seemed to happen?

// %% [markdown] lang="zh"
// ## 每一步改变多少
//
// 下面的曲线画的是预测的原图：每走一步，它改变了自身大小的百分之几。
//
// **先猜一猜：**改变最多的是前几步，还是看上去热闹的最后几步？

// %%
run.plot("change")?

// %% [markdown] lang="en"
// The early ones (one seed, an example). What the model expects has moved most of its way before you see anything.
//
// ## Exercises
//
// 1. Write an observer that keeps the predicted original of every step (`Quantity::PredictedOriginal`) and prints how far it is from the one before, in levels. Where does it settle?
// 2. Let an observer stop the run as soon as two predictions in a row differ by less than one level. How many steps did you save, and how far is the picture from the full one?
// 3. Why does `wants` exist, when `on_event` could simply ignore what it does not need?
//
// <details><summary>Answers</summary>
//
// 1. It keeps the last prediction, and how far the next is from it. The differences are large during the first steps and small from about the middle on.
//
//    {answer 1}
//
// 2. Take the last prediction as your picture, not the last latents: those still carry noise. With the struct of the first answer in another cell:
//
//    {answer 2}
//
// 3. Because decoding a picture often costs more than a step, and copying tensors from a graphics card holds the whole run up. What nobody wants is never computed.
//
// </details>

// %% [markdown] lang="zh"
// 是前几步（一个种子，只是一个例子）。还什么都看不出来的时候，模型心里想的图已经走完了大半路程。
//
// ## 练习
//
// 1. 写一个观察者，保留每一步预测的原图（`Quantity::PredictedOriginal`），并打印它与前一步相差多少级。从哪里开始它就定下来了？
// 2. 让观察者在连续两次预测相差不到一级时叫停。省了几步？得到的图和走完全程的图差多少？
// 3. `on_event` 明明可以忽略用不着的东西，为什么还要有 `wants`？
//
// <details><summary>参考答案</summary>
//
// 1. 它留着上一次的预测，量下一次和它差多少。开头几步差别很大，大约过了中段就很小了。
//
//    {answer 1}
//
// 2. 取最后一次预测作为图，而不是最后的潜变量：潜变量里还带着噪声。第一个答案里的结构体写在另一个单元格里，接着写：
//
//    {answer 2}
//
// 3. 因为解码一张图往往比走一步还贵，从显卡往外复制张量也会让整个运行停下来等。没人要的东西，根本就不去算。
//
// </details>

// %% answer="1"
#[derive(Default)]
struct Settling {
    last: Option<Picture>,
    moved: Vec<f64>,
}

impl Observer for Settling {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Picture { what: Quantity::PredictedOriginal, .. })
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        if let Event::Step(step) = event {
            if let Some(pictures) = step.pictures(Quantity::PredictedOriginal) {
                let picture = Picture::from(pictures[0].clone());
                if let Some(last) = &self.last {
                    self.moved.push(picture.difference(last));
                }
                self.last = Some(picture);
            }
        }
        Ok(Flow::Continue)
    }
}

for seed in [1, 2, 3] {
    let mut settling = Settling::default();
    sd.draw(prompt).seed(seed).decode(Decode::Final).watched(&mut settling)?;
    println!("seed {seed}: {:.1?} levels", settling.moved);
    assert!(settling.moved[12..].iter().all(|late| *late < settling.moved[0] / 4.0));
}

// %% answer="2"
struct StopWhenSettled(Settling);

impl Observer for StopWhenSettled {
    fn wants(&self, ask: Ask) -> bool {
        self.0.wants(ask)
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        self.0.on_event(event)?;
        Ok(if self.0.moved.last().is_some_and(|levels| *levels < 1.0) { Flow::Stop } else { Flow::Continue })
    }
}

let mut watcher = StopWhenSettled(Settling::default());
let short = sd.draw(prompt).seed(7).decode(Decode::Final).watched(&mut watcher)?;
if let Some(picture) = &watcher.0.last {
    println!("{} steps, {:.1} levels from all 25", short.steps_recorded() - 1, picture.difference(&run.image()?));
}

// %% [markdown] lang="en"
// ## In the shell
//
//     sdviz trace --prompt "a red apple on a blue background" --seed 7
//     sdviz video run --what images --fps 5 --format gif
//     sdviz video run --what x0 --fps 5 --format gif
//     sdviz plot run --what change
//
// ## In the chapter
//
// | there, in Python | here |
// |---|---|
// | `latents_reservoir = []`, `def save_latents(i, t, latents): latents_reservoir.append(latents)` | `run.latents_reservoir()?`, or an observer that wants `Quantity::Latents` |
// | `image_reservoir = []`, a callback that decodes: `image_reservoir.append(pipe.decode_latents(latents))` | `run.image_reservoir()?`, or an observer that wants `Ask::Picture` |
// | `pipe(prompt, callback=save_latents)` | `sd.draw(prompt).watched(&mut observer)?` |
// | `media.show_video(images, fps=5)` | `run.video("images")?.fps(5.0)` |

// %% [markdown] lang="zh"
// ## 在命令行里
//
//     sdviz trace --prompt "a red apple on a blue background" --seed 7
//     sdviz video run --what images --fps 5 --format gif
//     sdviz video run --what x0 --fps 5 --format gif
//     sdviz plot run --what change
//
// ## 对照原书
//
// | 书里的 Python | 这里 |
// |---|---|
// | `latents_reservoir = []`，`def save_latents(i, t, latents): latents_reservoir.append(latents)` | `run.latents_reservoir()?`，或者写一个要 `Quantity::Latents` 的观察者 |
// | `image_reservoir = []`，在回调里解码：`image_reservoir.append(pipe.decode_latents(latents))` | `run.image_reservoir()?`，或者写一个要 `Ask::Picture` 的观察者 |
// | `pipe(prompt, callback=save_latents)` | `sd.draw(prompt).watched(&mut observer)?` |
// | `media.show_video(images, fps=5)` | `run.video("images")?.fps(5.0)` |
