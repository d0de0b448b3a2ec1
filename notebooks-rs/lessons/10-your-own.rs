// %% [markdown] lang="en"
// # Your own
//
// You will be able to
//
// - write an **observer** that looks inside the UNet, and draw which places a word reaches;
// - write an **editor** that changes a tensor on its way, and learn from what breaks;
// - write a **scheduler** in twenty lines, and measure whether it is any good.
//
// These are the three places where code of yours can join a run. Each is a Rust trait with a few functions, and the library's own parts use the same three.

// %% [markdown] lang="zh"
// # 自己动手
//
// 你将学会：
//
// - 写一个**观察者**，往 UNet 里面看，画出一个词能影响到哪里；
// - 写一个**编辑器**，在半路上改掉一个张量，再从弄坏的东西里学到点什么；
// - 用二十行写一个**调度器**，并量一量它到底好不好。
//
// 你的代码可以从这三个地方加入一次运行。每个地方都是一个 Rust trait，只有几个函数；程序库自己的部件用的也是这三个。

// %%
use sdviz::prelude::*;
let sd = Model::load("pocket")?;
let prompt = "a red apple on a blue background";

// Only finished pictures are wanted here: no other step is decoded, which takes a quarter of the time.
fn draw(sd: &Model, prompt: &str, seed: u64) -> Drawing {
    sd.draw(prompt).seed(seed).decode(Decode::Final)
}

// %% [markdown] lang="en"
// ## An observer: which places listen to a word?
//
// Lesson 3 had observers that look at steps. An observer can also ask for **sites**, the places inside the model where tensors arise, by name (lesson 7 listed them). We want the probabilities of the cross-attention: how far each place of the picture listens to each token.
//
// The observer below keeps the map of one token, added up over all of these sites and all steps. (People say that a word “looks at” a place. It is the place that listens.)

// %% [markdown] lang="zh"
// ## 观察者：哪些位置在听一个词？
//
// 第 3 课的观察者看的是采样步。观察者也可以按名字要求看**位点**：模型内部产生张量的地方（第 7 课列过）。这里要看的是交叉注意力的概率：画面的每个位置在多大程度上听每个词元的。
//
// 下面的观察者只留一个词元的图，把所有这些位点、所有采样步加在一起。（平常也说一个词“看着”某个位置，其实是那个位置在听它。）

// %%
struct LookingAt {
    token: i64,
    map: Tensor,
    added: f64,
}

impl Observer for LookingAt {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Site(name, _) if name.ends_with(".attn2.probs"))
    }

    fn wants_branch(&self, branch: Branch) -> bool {
        branch == Branch::Text(0)
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        if let Event::Tensor(Site { grid: Some((height, width)), .. }, probs) = event {
            // [1, heads, places, tokens]: one token, the mean of the heads, laid out as a picture and made 16×16.
            let of_token = probs.select(3, self.token).mean_dim([0, 1].as_slice(), false, Kind::Float);
            let picture = of_token.view([1, 1, *height, *width]).upsample_nearest2d([16, 16], None, None);
            self.map += picture.view([16, 16]);
            self.added += 1.0;
        }
        Ok(Flow::Continue)
    }
}

// %% [markdown] lang="en"
// `wants` asks for the sites whose names end in `.attn2.probs`; `wants_branch` for the row of the prompt, not that of the empty text (a *branch* here is a row of the batch; lesson 11 has another thing of that name). The maps have the resolution of their block, 16×16, 8×8 or 4×4, and are brought to one size. In the pictures below dark is the least and bright the most; above each map stands how much that is of all attention of a place, in the mean over the sites and steps.
//
// **Predict:** where is "apple" listened to, and where "background"?

// %% [markdown] lang="zh"
// `wants` 要的是名字以 `.attn2.probs` 结尾的位点；`wants_branch` 只要提示词那一份，不要空文本那一份（这里的 branch 指批次里的一行，和第 11 课的分叉不是一回事）。各块的图分辨率不同（16×16、8×8 或 4×4），所以先放大到同样的尺寸。下面的图里，最暗处最少，最亮处最多；图上方写着各是多少：占一个位置全部注意力的百分之几，对所有位点和采样步取平均。
//
// **先猜一猜：**哪里在听 “apple”？哪里在听 “background”？

// %%
fn look(sd: &Model, prompt: &str, word: &str, seed: u64) -> Result<Tensor> {
    let tokens = sd.tokens(prompt)?;
    let token = tokens.pieces().iter().position(|piece| piece == &format!("{word}</w>")).unwrap_or(0) as i64;
    let mut looking = LookingAt { token, map: Tensor::zeros([16, 16], (Kind::Float, Device::Cpu)), added: 0.0 };
    draw(sd, prompt, seed).watched(&mut looking)?;
    Ok(looking.map / looking.added)
}

// A map as a picture, with what its darkest and its brightest place get.
fn shown(name: &str, map: &Tensor) -> Result<(String, Picture)> {
    let percent = |share: Tensor| 100.0 * share.double_value(&[]);
    Ok((format!("{name}: {:.1} to {:.1} %", percent(map.min()), percent(map.max())), Picture::map(map)?.magnified(8)))
}

let mut maps = vec![];
for seed in [1, 2] {
    maps.push((format!("seed {seed}"), draw(&sd, prompt, seed).run()?.image()?));
    for word in ["apple", "background"] {
        let map = look(&sd, prompt, word, seed)?;
        let mean = |map: Tensor| map.mean(Kind::Float).double_value(&[]);
        let (top, middle) = (mean(map.narrow(0, 0, 1)), mean(map.narrow(0, 5, 6).narrow(1, 5, 6)));
        assert!(if word == "apple" { middle > top } else { top > middle });
        maps.push(shown(word, &map)?);
    }
}
sheet_of(3, &maps)

// %% [markdown] lang="en"
// The word "apple" is listened to most where the apple is, "background" most around it (seeds 1 and 2; nowhere is a word not heard at all). Such maps are how people find out what a prompt has done to a picture; papers call them attention maps (DAAM, Prompt-to-Prompt).
//
// ## An editor: without a word
//
// An **editor** gives a tensor in place of the one it is shown; `None` would leave it as it is. This one silences all cross-attention from a step on: the text has no more say.
//
// **Predict:** silent from step 1, 3, 8 or 15 of 25. From which step on is the apple safe?

// %% [markdown] lang="zh"
// 苹果所在的位置最听 “apple” 的，苹果四周最听 “background” 的（种子 1 和 2；哪里都多少听得见一点）。要弄清一句提示词对画面做了什么，人们看的就是这种图；论文里叫注意力图（DAAM、Prompt-to-Prompt）。
//
// ## 编辑器：不许说话
//
// **编辑器**拿到一个张量，还一个新的张量；还 `None` 就是不改。下面这个从某一步起让所有交叉注意力闭嘴：文本再也说不上话。
//
// **先猜一猜：**25 步里，从第 1、3、8、15 步开始闭嘴。从哪一步起闭嘴，苹果就不受影响了？

// %%
struct Silence {
    from: usize,
}

impl Editor for Silence {
    fn wants(&self, site: &str, step: usize) -> bool {
        step >= self.from && site.starts_with("unet.") && site.ends_with(".attn2")
    }

    fn edit(&mut self, _site: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(tensor.zeros_like()))
    }
}

// %%
let mut silenced = vec![];
for (prompt, seed) in [(prompt, 1), ("a rocket on a black background", 3), ("a banana on a purple background", 4)] {
    let whole = draw(&sd, prompt, seed).run()?.image()?;
    let mut far = vec![];
    for from in [1, 3, 8, 15] {
        let picture = draw(&sd, prompt, seed).edited(&mut Silence { from })?.image()?;
        far.push(picture.difference(&whole));
        silenced.push((format!("silent from {from}"), picture));
    }
    silenced.push(("never silent".to_string(), whole));
    println!("{prompt}: {far:.0?} levels from the picture with all its words");
    assert!(far[0] > far[1] && far[1] > far[2] && far[2] > far[3]);
}
sheet_of(5, &silenced)

// %% [markdown] lang="en"
// Without any text the model draws *something*: it has learned what its pictures look like in general. (The apple of seed 1, the rocket of seed 3, the banana of seed 4, an example; the assertion says that silence does the less the later it comes.) After two steps the background is settled, after seven the thing, if roughly: the rocket has no fins and no flame yet. What the text still adds then is parts and detail.
//
// ## An editor: cut the wires
//
// Lesson 7 said without a proof that on the way up the UNet gets from the side *where* exactly things are. An editor can test it: put nothing in the place of the skip connections, or of what comes from below (all that the blocks before made), in the last block.
//
// **Predict:** what will the apple look like without the skip connections? And without what comes from below?

// %% [markdown] lang="zh"
// 一个字也没有，模型还是会画点*什么*：它学过图大体长什么样。（种子 1 的苹果、种子 3 的火箭、种子 4 的香蕉，是个例子；断言检验的是：闭嘴越晚，影响越小。）走过两步，背景就定了；走过七步，东西也大致定了，只是火箭还没有尾翼和火焰。之后文本能添的，是零件和细节。
//
// ## 编辑器：剪断连线
//
// 第 7 课说过、但没有证明：往上走的时候，UNet 从旁边得知东西的准确*位置*。编辑器可以检验这句话：在最后一块里，把跳跃连接换成空的，或者把下面上来的（也就是前面各块算出的全部）换成空的。
//
// **先猜一猜：**没有跳跃连接，苹果会变成什么样？没有下面上来的东西呢？

// %%
struct Cut {
    site: &'static str,
}

impl Editor for Cut {
    fn wants(&self, site: &str, step: usize) -> bool {
        step > 0 && site.starts_with("unet.up_blocks.2.") && site.ends_with(self.site)
    }

    fn edit(&mut self, _site: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(tensor.zeros_like()))
    }
}

let mut cut = vec![];
for seed in [1, 2, 3] {
    let whole = draw(&sd, prompt, seed).run()?.image()?;
    let no_skips = draw(&sd, prompt, seed).edited(&mut Cut { site: ".skip" })?.image()?;
    let nothing_from_below = draw(&sd, prompt, seed).edited(&mut Cut { site: ".resnets.0.backbone" })?.image()?;
    assert!(no_skips.difference(&whole) > 20.0 && nothing_from_below.difference(&whole) > 20.0);
    cut.extend([
        (format!("seed {seed}"), whole),
        ("no skips".to_string(), no_skips),
        ("only skips".to_string(), nothing_from_below),
    ]);
}
sheet_of(3, &cut)

// %% [markdown] lang="en"
// Without skip connections there is some red in the middle and some blue around it, and the noise stays: the network no longer sees at which place which grain of noise sits, so it cannot name it. Without what comes from below the noise goes, but nearly everything becomes background, with a few specks like bits of leaves: nothing says that an apple belongs there. Where, and what. (How it looks, for seeds 1 to 3, is for your eye; the assertion only says that both are far from the whole picture.)
//
// ## A scheduler
//
// DDIM and Euler trust the prediction of this step alone. But the prediction changes from step to step, mostly steadily. So take two: go on from this one by half of what it has changed since the last.
//
// In σ (lesson 8), with latents x = picture + σ · noise, a step is x + (σ′ − σ) · noise. Ours puts in place of the noise
//
// > slope = noise + (noise − last noise) · h / (2 · last h), with h = σ′ − σ
//
// What else a scheduler has to answer, its noise levels and its scaling, we take from Euler. (`Box<dyn Scheduler>` is a place that any scheduler fits in.)

// %% [markdown] lang="zh"
// 没有跳跃连接，中间还有点红，四周还有点蓝，噪声却留了下来：网络看不见哪个位置上是哪一粒噪声，也就说不出来。没有下面上来的东西，噪声倒是去掉了，却几乎全成了背景，只有几点像碎叶子：没有谁说这里该有一个苹果。一个管“在哪里”，一个管“是什么”。（种子 1 到 3 的样子要你自己看；断言只检验两者都离完整的图很远。）
//
// ## 调度器
//
// DDIM 和 Euler 每一步只相信这一步的预测。可是预测一步步在变，而且多半变得很平稳。那就用上两步：从这一步的预测出发，再往前加上它与上一步之差的一半。
//
// 用 σ 来写（第 8 课），潜变量是 x = 画面 + σ · 噪声，一步就是 x + (σ′ − σ) · 噪声。我们把其中的噪声换成
//
// > 斜率 = 噪声 + (噪声 − 上一步的噪声) · h / (2 · 上一步的 h)，其中 h = σ′ − σ
//
// 调度器还要回答的别的问题（噪声水平、缩放），都交给 Euler。（`Box<dyn Scheduler>` 里可以放任何一个调度器。）

// %%
struct TwoStep {
    euler: Box<dyn Scheduler>,
    last: Option<(f64, Tensor)>,
}

impl Scheduler for TwoStep {
    fn name(&self) -> &'static str { "two_step" }
    fn timesteps(&self) -> &[f64] { self.euler.timesteps() }
    fn init_noise_sigma(&self) -> f64 { self.euler.init_noise_sigma() }
    fn level(&self, call: usize) -> NoiseLevel { self.euler.level(call) }
    fn scale_model_input(&self, x: &Tensor, call: usize) -> Result<Tensor> { self.euler.scale_model_input(x, call) }
    fn add_noise(&self, x: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> { self.euler.add_noise(x, noise, call) }

    fn step(&mut self, noise: &Tensor, call: usize, x: &Tensor, _fresh: &mut Noise) -> Result<StepOutput> {
        let sigma = self.level(call).sigma;
        let h = self.level(call + 1).sigma - sigma;
        let slope = match &self.last {
            Some((last_h, last)) => noise + (noise - last) * (h / (2.0 * last_h)),
            None => noise.shallow_clone(),
        };
        self.last = Some((h, noise.shallow_clone()));
        Ok(StepOutput { prev_sample: x + slope * h, pred_original: x - noise * sigma })
    }
}

// %% [markdown] lang="en"
// The loop of lesson 5 takes any scheduler, so it takes ours. (The guidance scale is 3 here. At 5, in long steps, the predictions turn too fast for a rule that remembers: lesson 8 saw it with `lms`.)

// %% [markdown] lang="zh"
// 第 5 课的循环对任何调度器都适用，当然也适用于我们的。（这里的引导系数是 3。系数为 5、步子又大时，预测转得太快，靠记忆的规则跟不上：第 8 课的 `lms` 就是这样。）

// %%
fn draw_with(sd: &Model, scheduler: &mut dyn Scheduler, prompt: &str, seed: u64) -> Result<Picture> {
    let text = sd.text_embeddings(&["", prompt])?;
    let mut latents = sd.noise(seed) * scheduler.init_noise_sigma();
    for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate() {
        let input = scheduler.scale_model_input(&latents, call)?.repeat([2, 1, 1, 1]);
        let predicted = sd.predict_noise(&input, timestep, &text)?;
        let noise = guided(&predicted.narrow(0, 0, 1), &predicted.narrow(0, 1, 1), 3.0)?;
        latents = scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample;
    }
    sd.decode(&latents)
}

let mut ours = TwoStep { euler: sd.scheduler("euler", 15)?, last: None };
draw_with(&sd, &mut ours, prompt, 1)?

// %% [markdown] lang="en"
// An apple. Is it a *good* scheduler? With very many steps all schedulers that draw no noise of their own meet; so the measure is how near one comes with few.
//
// **Predict:** with 5 steps, with 10, with 25: is ours nearer than Euler?

// %% [markdown] lang="zh"
// 是个苹果。可它算是个*好*调度器吗？步数非常多时，自己不加新噪声的调度器都会汇合；所以要量的是：步数少的时候，它离那里有多近。
//
// **先猜一猜：**走 5 步、10 步、25 步，我们的比 Euler 更近吗？

// %%
println!("levels from 100 steps    euler   ours   dpmpp_2m");
let subjects = [(prompt, 1), ("a rocket on a black background", 3), ("a banana on a purple background", 4)];
let mut goals = vec![];
for (prompt, seed) in subjects {
    goals.push(draw_with(&sd, sd.scheduler("euler", 100)?.as_mut(), prompt, seed)?);
}
let mut table: Vec<[f64; 3]> = vec![];
for steps in [5, 10, 25] {
    let mut far = [0.0; 3];
    for ((prompt, seed), goal) in subjects.iter().zip(&goals) {
        let mut ours = TwoStep { euler: sd.scheduler("euler", steps)?, last: None };
        far[0] += draw_with(&sd, sd.scheduler("euler", steps)?.as_mut(), prompt, *seed)?.difference(goal) / 3.0;
        far[1] += draw_with(&sd, &mut ours, prompt, *seed)?.difference(goal) / 3.0;
        far[2] += draw_with(&sd, sd.scheduler("dpmpp_2m", steps)?.as_mut(), prompt, *seed)?.difference(goal) / 3.0;
    }
    println!("{steps:>2} steps {:>20.1} {:>6.1} {:>10.1}", far[0], far[1], far[2]);
    table.push(far);
}
// Each comes nearer with more steps; from 10 on ours is nearer than Euler.
assert!((0..3).all(|column| table.windows(2).all(|rows| rows[1][column] < rows[0][column])));
assert!(table[1..].iter().all(|far| far[1] < far[0]));

// %% [markdown] lang="en"
// With 5 steps ours is no better than Euler: from one step to the next so much changes that going on in a straight line does not pay. With 10 it is nearer, with 25 a little, and it costs nothing: no call of the UNet more. (An example, of three pictures: a measure worth trusting takes some dozens.) DPM-Solver++ (2M) does the same thing with more care, on the predictions of x0 and in the logarithm of σ. With 5 steps it is the nearest of the three.
//
// That is how schedulers are made: a rule of a few lines, a measure, and no training.
//
// ## Exercises
//
// 1. Let `LookingAt` add up the first five steps only (`Ask::Site(name, step)` tells the step). Do the right places already listen to "apple"?
// 2. An editor that silences the text in the *first* three steps and lets it speak from then on: `step <= 3`. Predict first: worse than silence from step 3 on, or better?
// 3. Give the editor the guidance scale: it is a site too, called `guidance_scale`, a tensor of one number. Let it fall from 8 to 1 over the steps.
// 4. Make `TwoStep` careful: use the last noise only while the change is small, `(noise - last).norm()` less than a tenth of `noise.norm()`. Is it better with 5 steps?
// 5. What is DDIM's step in this form, with `x`, σ and noise? Begin with lesson 5's two lines.
//
// <details><summary>Answers</summary>
//
// 1. Yes: a blot in the middle already, only coarser.
//
//    {answer 1}
//
// 2. Better by far: for the apple of seed 1 about 3 levels from the whole picture, against 32 for silence from step 3 on (an example). In the first steps the picture is hardly touched; they can be made up for.
//
//    {answer 2}
//
// 3. An edited tensor must keep its shape and its kind of numbers, which `ones_like` does.
//
//    {answer 3}
//
// 4. It is as good as Euler, neither better nor worse: with 5 steps the predictions change by more than a tenth each time, so the last one is always forgotten and Euler is left (three pictures, an example).
//
//    {answer 4}
//
// 5. Divide DDIM's latents by √ᾱ: x = latents / √ᾱ = x0 + σ · noise. Its two lines then say next x = x0 + σ′ · noise = x + (σ′ − σ) · noise: the Euler step.
//
// </details>

// %% [markdown] lang="zh"
// 只走 5 步时，我们的并不比 Euler 好：相邻两步之间变化太大，顺着直线走下去不划算。走 10 步时它近了，走 25 步时近了一点，而且不费什么：UNet 一次也不多调用。（这只是三张图的例子；要量得可信，得几十张。）DPM-Solver++ (2M) 做的是同一件事，只是更讲究：它延长的是 x0 的预测，而且以 σ 的对数为尺度。走 5 步时，三个里数它最近。
//
// 调度器就是这么做出来的：一条几行的规则，一把尺子，不用训练。
//
// ## 练习
//
// 1. 让 `LookingAt` 只累加前五步（`Ask::Site(name, step)` 里有步数）。听 “apple” 的，已经是对的位置了吗？
// 2. 写一个编辑器，让文本在*前*三步闭嘴，之后再说话：`step <= 3`。先猜：比从第 3 步起闭嘴更糟，还是更好？
// 3. 让编辑器来管引导系数：它也是一个位点，名叫 `guidance_scale`，是只有一个数的张量。让它随着步数从 8 降到 1。
// 4. 让 `TwoStep` 谨慎一点：只有变化小的时候才用上一步的噪声，比如 `(noise - last).norm()` 小于 `noise.norm()` 的十分之一。走 5 步时会更好吗？
// 5. 用 `x`、σ 和噪声来写，DDIM 的一步是什么？从第 5 课的两行公式开始推。
//
// <details><summary>参考答案</summary>
//
// 1. 是的：中间已经有一团，只是粗一些。
//
//    {answer 1}
//
// 2. 好得多：种子 1 的苹果和完整的图大约差 3 级，而从第 3 步起闭嘴要差 32 级（这只是一个例子）。前几步几乎没有动到画面，后面补得回来。
//
//    {answer 2}
//
// 3. 改过的张量要保持原来的形状和数据类型，`ones_like` 正好如此。
//
//    {answer 3}
//
// 4. 和 Euler 一样，不更好也不更差：只走 5 步时，预测每次都变了十分之一以上，上一步的总是被忘掉，剩下的就是 Euler（三张图，只是一个例子）。
//
//    {answer 4}
//
// 5. 把 DDIM 的潜变量除以 √ᾱ：x = 潜变量 / √ᾱ = x0 + σ · 噪声。那两行公式就成了：下一个 x = x0 + σ′ · 噪声 = x + (σ′ − σ) · 噪声，正是 Euler 的一步。
//
// </details>

// %% answer="1"
struct Early(LookingAt);

impl Observer for Early {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Site(name, step) if step <= 5 && name.ends_with(".attn2.probs"))
    }

    fn wants_branch(&self, branch: Branch) -> bool {
        self.0.wants_branch(branch)
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        self.0.on_event(event)
    }
}

let mut early_maps = vec![];
for seed in [1, 2, 3] {
    let token = 3; // "apple": 0 begins the text, 1 and 2 are "a red"
    let mut early = Early(LookingAt { token, map: Tensor::zeros([16, 16], (Kind::Float, Device::Cpu)), added: 0.0 });
    draw(&sd, prompt, seed).watched(&mut early)?;
    let (map, mean) = (early.0.map / early.0.added, |map: Tensor| map.mean(Kind::Float).double_value(&[]));
    assert!(mean(map.narrow(0, 5, 6).narrow(1, 5, 6)) > mean(map.narrow(0, 0, 1)));
    early_maps.push(shown(&format!("seed {seed}"), &map)?);
}
sheet(&early_maps)

// %% answer="2"
struct SilentUntil(usize);

impl Editor for SilentUntil {
    fn wants(&self, site: &str, step: usize) -> bool {
        step <= self.0 && site.starts_with("unet.") && site.ends_with(".attn2")
    }

    fn edit(&mut self, _site: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(tensor.zeros_like()))
    }
}

for seed in [1, 2, 3] {
    let whole = draw(&sd, prompt, seed).run()?.image()?;
    let first = draw(&sd, prompt, seed).edited(&mut SilentUntil(3))?.image()?.difference(&whole);
    let rest = draw(&sd, prompt, seed).edited(&mut Silence { from: 3 })?.image()?.difference(&whole);
    println!("seed {seed}: silent until step 3, {first:.0} levels; from step 3 on, {rest:.0}");
    assert!(first < rest);
}

// %% answer="3"
struct Falling;

impl Editor for Falling {
    fn wants(&self, site: &str, _step: usize) -> bool {
        site == "guidance_scale"
    }

    fn edit(&mut self, site: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(tensor.ones_like() * (8.0 - 7.0 * site.step as f64 / 25.0)))
    }
}

sheet(&[("5", draw(&sd, prompt, 1).run()?.image()?), ("8 to 1", draw(&sd, prompt, 1).edited(&mut Falling)?.image()?)])

// %% answer="4"
struct Careful(TwoStep);

impl Scheduler for Careful {
    fn name(&self) -> &'static str { "careful" }
    fn timesteps(&self) -> &[f64] { self.0.timesteps() }
    fn init_noise_sigma(&self) -> f64 { self.0.init_noise_sigma() }
    fn level(&self, call: usize) -> NoiseLevel { self.0.level(call) }
    fn scale_model_input(&self, x: &Tensor, call: usize) -> Result<Tensor> { self.0.scale_model_input(x, call) }
    fn add_noise(&self, x: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> { self.0.add_noise(x, noise, call) }

    fn step(&mut self, noise: &Tensor, call: usize, x: &Tensor, fresh: &mut Noise) -> Result<StepOutput> {
        let size = |tensor: &Tensor| tensor.norm().double_value(&[]);
        // What has changed too much is forgotten.
        self.0.last = self.0.last.take().filter(|(_, last)| size(&(noise - last)) < 0.1 * size(noise));
        self.0.step(noise, call, x, fresh)
    }
}

for ((prompt, seed), goal) in subjects.into_iter().zip(&goals) {
    let ours = || Ok::<TwoStep, Error>(TwoStep { euler: sd.scheduler("euler", 5)?, last: None });
    let euler = draw_with(&sd, sd.scheduler("euler", 5)?.as_mut(), prompt, seed)?;
    let (hasty, careful) = (draw_with(&sd, &mut ours()?, prompt, seed)?, draw_with(&sd, &mut Careful(ours()?), prompt, seed)?);
    let [euler, hasty, careful] = [euler, hasty, careful].map(|picture| picture.difference(goal));
    println!("5 steps, levels from 100: euler {euler:.1}, ours {hasty:.1}, careful {careful:.1}");
}

// %% [markdown] lang="en"
// ## In the shell
//
//     sdviz inspect --sites "**.attn2.probs"     # the sites that an observer or an editor can name
//     sdviz trace --prompt "a red apple on a blue background" --on-step ./my-command    # an observer in any language
//     cargo run --example my_observer -- "a red apple"
//     cargo run --example my_editor -- "a red apple on a blue background" 8
//
// A scheduler that has proved itself becomes one file in `src/scheduler/` and one line in its registry; `CONTRIBUTING.md` says how. Then every command knows it.
//
// ## In the chapter
//
// | there, in Python | here |
// |---|---|
// | `pipe(prompt, callback_on_step_end=f)` | `sd.draw(prompt).watched(&mut observer)?` |
// | a forward hook that returns another tensor | `sd.draw(prompt).edited(&mut editor)?` |
// | `class MyScheduler(SchedulerMixin)` with `step` | `impl Scheduler for …` with `step` |

// %% [markdown] lang="zh"
// ## 在命令行里
//
//     sdviz inspect --sites "**.attn2.probs"     # 观察者和编辑器可以点名的位点
//     sdviz trace --prompt "a red apple on a blue background" --on-step ./my-command    # 用任何语言写的观察者
//     cargo run --example my_observer -- "a red apple"
//     cargo run --example my_editor -- "a red apple on a blue background" 8
//
// 一个调度器如果经得起考验，就可以成为 `src/scheduler/` 里的一个文件，在登记表里加一行；`CONTRIBUTING.md` 讲了怎么做。从此每条命令都认识它。
//
// ## 对照原书
//
// | 书里的 Python | 这里 |
// |---|---|
// | `pipe(prompt, callback_on_step_end=f)` | `sd.draw(prompt).watched(&mut observer)?` |
// | 返回另一个张量的 forward hook | `sd.draw(prompt).edited(&mut editor)?` |
// | 带 `step` 的 `class MyScheduler(SchedulerMixin)` | 带 `step` 的 `impl Scheduler for …` |
