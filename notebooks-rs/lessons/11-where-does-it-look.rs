// %% [markdown] lang="en"
// # Where does it look? What if?
//
// You will be able to
//
// - draw which places of a picture listen to a word, step by step, and say how much of all attention words get;
// - say why that does not explain the picture yet, and test it with an **edit**, which changes something inside the model;
// - find out when the model reads, which layers decide what, and when it needs guidance;
// - go on from the middle of a run with another wish, a **branch**, and say from when on that is too late;
// - let a run borrow from a **donor**, so that the layout stays and the thing changes.
//
// In lesson 10 you wrote an observer and editors yourself. Here are the library's own tools for the same, and questions that they can answer.

// %% [markdown] lang="zh"
// # 它在看哪里？要是……会怎样？
//
// 你将学会：
//
// - 一步一步画出画面的哪些位置在听一个词，说出全部注意力里词占了多少；
// - 说清楚为什么这还解释不了画面，并用**改动**（在模型里面改掉一样东西）来检验；
// - 弄清模型什么时候在读提示词、哪些层管什么、什么时候离不开引导；
// - 从一次运行的半路上带着另一个愿望走下去，这叫**分叉**，并说出从哪一步起就太晚了；
// - 让一次运行向**供体**借东西：布局不变，东西换掉。
//
// 第 10 课里，观察者和编辑器是你自己写的。这里是程序库自带的同类工具，和它们能回答的问题。

// %%
use sdviz::prelude::*;
let sd = Model::load("pocket")?;
let prompt = "a red apple on a blue background";

// Only finished pictures are wanted here: no other step is decoded, which takes a quarter of the time.
fn draw(sd: &Model, prompt: &str, seed: u64) -> Drawing {
    sd.draw(prompt).seed(seed).decode(Decode::Final)
}

// Claims are tried on these: a prompt, a word of it, a seed.
let subjects = [(prompt, "apple", 1_u64), ("a rocket on a black background", "rocket", 3), ("a banana on a purple background", "banana", 4)];

// %% [markdown] lang="en"
// ## Who listens to a word
//
// In cross-attention (lesson 7) each place of the picture divides its attention among the tokens; its **shares** add up to one. A run keeps them if it is asked to. `attention_of` then draws the share that a word gets at each place, an **attention map**: dark is the least of all steps, bright the most, with the percentages at the left. Above it stands what the model expects at that step (lesson 3).
//
// **Predict:** at step 1 there is nothing but noise. At which step is "apple" listened to where the apple will be?

// %% [markdown] lang="zh"
// ## 谁在听一个词
//
// 在交叉注意力里（第 7 课），画面的每个位置把注意力分给各个词元，它给出的**份额**加起来是一。运行时说一声，这些份额就会留下来。`attention_of` 画出一个词在每个位置得到的份额，这就是**注意力图**：所有采样步里最少的地方最暗，最多的地方最亮，左边写着百分比。上面一排是那一步模型心里想的图（第 3 课）。
//
// **先猜一猜：**第 1 步眼前只有噪声。从第几步起，听 “apple” 的就已经是苹果将来所在的位置？

// %%
let run = sd.draw(prompt).seed(1).attention(AttentionPlan::default()).run()?;
run.attention_of("apple")?.size(64)

// %% [markdown] lang="en"
// From the first step on, roughly. **Why?** The UNet has already an idea of the apple there (the upper row), a red blot in the middle, and the places that carry it ask for an apple. As numbers, for three subjects: how well does the map of a step lie on the finished thing, on all pixels that are not of the background's colour? 1 is exactly, 0 not at all.

// %% [markdown] lang="zh"
// 大致从第 1 步起就是。**为什么？**那时 UNet 对苹果已经有了想法（上面一排）：中间一团红，带着这团红的位置要的就是苹果。用数来说，看三个例子：某一步的注意力图，和画成之后的东西（颜色和背景不同的全部像素）重合得有多好？1 是完全重合，0 是毫不相干。

// %%
// Which pixels are not of the background's colour.
fn thing(picture: &Picture) -> Vec<bool> {
    let ground = picture.crop(0, 0, 12, 12).mean_colour();
    let far = |pixel: &Rgb<u8>| (0..3).map(|i| (f64::from(pixel.0[i]) - ground[i]).powi(2)).sum::<f64>().sqrt();
    picture.pixels().map(|pixel| far(pixel) > 60.0).collect()
}

// The correlation of a map with those pixels, over the places; each place is 8 by 8 pixels.
fn on_the_thing(map: &Array2<f32>, picture: &Picture) -> f32 {
    let mut covered = Array2::<f32>::zeros((16, 16));
    for (number, _) in thing(picture).into_iter().enumerate().filter(|(_, is_thing)| *is_thing) {
        covered[[number / 128 / 8, number % 128 / 8]] += 1.0;
    }
    let (map, covered) = (map - map.mean().unwrap_or(0.0), &covered - covered.mean().unwrap_or(0.0));
    (&map * &covered).sum() / ((&map * &map).sum() * (&covered * &covered).sum()).sqrt()
}

let mut looked = vec![];
for (prompt, word, seed) in subjects {
    let run = draw(&sd, prompt, seed).attention(AttentionPlan::default()).run()?;
    let maps = run.attention_of(word)?;
    let finished = run.image()?;
    let on = |step| -> Result<f32> { Ok(on_the_thing(&maps.map(step)?, &finished)) };
    let (first, tenth, last) = (on(1)?, on(10)?, on(25)?);
    println!("{word:<7} on the finished thing: {first:.2} in step 1, {tenth:.2} in step 10, {last:.2} in step 25");
    assert!(first > 0.25);
    looked.push(run);
}

// %% [markdown] lang="en"
// In step 1 all three maps lie roughly on what is not there yet (that is the assertion). For the apple and the banana it stays so. "rocket" is heard all over the picture in step 10, on the rocket and off it (seed 3, an example): such a map need not show the thing.
//
// ## How much do words get?
//
// There are 77 tokens: the begin-of-text, the words, the first end-of-text, and then end-of-texts up to the last place, which are called the **padding** (lesson 5).
//
// **Predict:** of all attention, how much goes to the words: nearly all, half, a quarter?

// %% [markdown] lang="zh"
// 第 1 步，三幅图都大致落在还没有画出来的东西上（断言检验的就是这一点）。苹果和香蕉一直如此。“rocket” 到第 10 步时满图都在听，火箭上和火箭外一样多（种子 3，只是一个例子）：这种图不一定看得出那样东西。
//
// ## 词得到多少？
//
// 词元有 77 个：开始词元、各个单词、第一个结束词元，然后一直到最后都是结束词元，这一段叫作**填充**（第 5 课）。
//
// **先猜一猜：**全部注意力里有多少给了词：几乎全部、一半，还是四分之一？

// %%
println!("shares of all attention, in percent\n{:<8} {:>6} {:>6} {:>6} {:>8} {:>14}", "", "start", "words", "end", "padding", "its own word");
for ((_, word, _), run) in subjects.iter().zip(&looked) {
    let share = |of: &str| -> Result<f64> {
        let shares = run.attention_of(of)?.shares()?;
        Ok(100.0 * shares.iter().map(|(_, share)| share).sum::<f64>() / shares.len() as f64)
    };
    let (start, end, padding, own) = (share("<start>")?, share("<end>")?, share("<padding>")?, share(word)?);
    let words = 100.0 - start - end - padding;
    println!("{word:<8} {start:>6.1} {words:>6.1} {end:>6.1} {padding:>8.1} {own:>14.1}");
    assert!(padding > 50.0 && words < 45.0 && own < words / 2.0);
}

// %% [markdown] lang="en"
// A quarter to two fifths. Most goes to the padding. **Why?** It is not empty: each of those tokens has read the whole prompt (lesson 5), and there are many of them.
//
// **With Stable Diffusion 1.x** nearly all attention is said to go to the begin-of-text, which has read nothing: a place that wants nothing of the text can look there. pocket's places look at the padding.
//
// ## Is looking the same as needing?
//
// The map shows where a word is listened to. Does the picture need it? An **edit** can tell. It is a line of words: what is done, where, and with what. `mask **.attn2 words=apple` says: in every cross-attention (`attn2`) the word "apple" cannot be listened to, in no step; the other shares grow to one.
//
// **Predict:** hide the one word, "apple". Then all seven words. Then only the padding. What is left of the apple, each time?

// %% [markdown] lang="zh"
// 四分之一到五分之二。大部分给了填充。**为什么？**填充并不空：每个这样的词元都读完了整句提示词（第 5 课），而且数量又多。
//
// **换成 Stable Diffusion 1.x：**据说几乎全部注意力都给了开始词元，它什么也没读过：哪个位置对文本没有要求，就可以看那里。pocket 的位置看的是填充。
//
// ## 看着它，就等于需要它吗？
//
// 图上看得出哪里在听一个词。可画面需要这个词吗？用**改动**可以知道。改动就是一行字：做什么、在哪里、对什么做。`mask **.attn2 words=apple` 的意思是：在每个交叉注意力（`attn2`）里，所有采样步都不许听 “apple”，其余的份额放大到总和为一。
//
// **先猜一猜：**先藏起一个词 “apple”，再藏起全部七个词，最后只藏填充。苹果各剩下多少？

// %%
let mut hidden = vec![];
for ((prompt, word, seed), run) in subjects.iter().zip(&looked) {
    let whole = run.image()?;
    let without = |words: &str| draw(&sd, prompt, *seed).edit(format!("mask **.attn2 words={words}")).run()?.image();
    let (no_word, no_words, no_padding) = (without(word)?, without("<words>")?, without("<padding>")?);
    let far = [&no_word, &no_words, &no_padding].map(|picture| picture.difference(&whole));
    println!("{word:<7} without the word {:.0} levels, without all words {:.0}, without the padding {:.0}", far[0], far[1], far[2]);
    assert!(far[0] < far[1] && far[1] < far[2]);
    hidden.extend([(word.to_string(), whole), ("its word hidden".into(), no_word)]);
    hidden.extend([("all words hidden".into(), no_words), ("padding hidden".into(), no_padding)]);
}
sheet_of(4, &hidden[..8])

// %% [markdown] lang="en"
// Without its word the apple is hardly another. Without *any* word it is still an apple, and the rocket a rocket: the padding says enough. Without the padding the words alone get the colours right, the apple roughly, and the rocket falls apart. So a bright map says who is listened to, not who is needed: the padding can stand in for the words, the words for the padding only badly, and only the edit shows it. (The assertion compares how far the pictures move, for three subjects; what they show, the apple of seed 1 and the rocket of seed 3 here, is for your eye.)
//
// ## When does it read?
//
// `zero **.attn2 steps=1-5 branch=both` puts nothing in the place of all cross-attention, in the first five steps: the text is not there. (`both`: in the prediction with the prompt and in that with the empty text. Without it, only the first falls silent, and guidance multiplies the difference of a deaf prediction and one that can hear.)
//
// **Predict:** silent in steps 1 to 5, in 6 to 15, in 16 to 25, or in all 25. Which of the four is another picture?

// %% [markdown] lang="zh"
// 没有了自己的词，苹果几乎还是那个苹果。*一个*词都不给，画出来的仍然是苹果，火箭也还是火箭：填充说得够多了。没有填充，单靠词，颜色是对的，苹果勉强像，火箭就散了架。所以图上亮，说明它被听见，不说明少了它不行：填充顶替得了词，词却不太顶替得了填充，这些只有改动才看得出来。（断言比的是图变了多少，三个例子；画的是什么要你自己看，这里是种子 1 的苹果和种子 3 的火箭。）
//
// ## 它什么时候在读？
//
// `zero **.attn2 steps=1-5 branch=both` 在前五步把所有交叉注意力换成空的：文本不存在。（`both` 指配提示词的和配空文本的两个预测都改。不写的话只有前一个听不见，而引导会把听不见的和听得见的之差放大。）
//
// **先猜一猜：**在第 1 到 5 步闭嘴、第 6 到 15 步闭嘴、第 16 到 25 步闭嘴、25 步全闭嘴。四个里哪一个会变成另一张图？

// %%
let mut silenced = vec![];
for ((prompt, word, seed), run) in subjects.iter().zip(&looked).take(2) {
    let whole = run.image()?;
    let mut far = vec![];
    silenced.push((word.to_string(), whole.clone()));
    for steps in ["1-5", "6-15", "16-25", "1-25"] {
        let picture = draw(&sd, prompt, *seed).edit(format!("zero **.attn2 steps={steps} branch=both")).run()?.image()?;
        far.push(picture.difference(&whole));
        silenced.push((format!("silent in {steps}"), picture));
    }
    println!("{word:<7} {far:.0?} levels");
    assert!(far[..3].iter().all(|window| 2.5 * window < far[3]));
}
sheet_of(5, &silenced)

// %% [markdown] lang="en"
// Only the last, where it never reads: far from the picture that was asked for, no apple and no rocket. In each of the three windows it can do without: it is an apple and a rocket each time, if not the same rocket (seeds 1 and 3; the assertion compares the levels). What it missed in the first five steps it hears in the sixth, and after fifteen the apple stands already. Lesson 10 silenced the text from a step *on*; then the early steps count most, for they are all that was heard. So no step is *the* one in which a prompt is read.
//
// ## Which layers hear what?
//
// An edit can also tell *other* layers something else. `prompt unet.** sizes=f2 text='…'` gives another prompt to the cross-attentions whose grid is half as fine as the latents, 8×8; `f4` are those of 4×4, `f1` those of 16×16. (The idea is from P+, Voynov et al. 2023.)
//
// **Predict:** the prompt is the red apple on blue. Layers of one size hear "a banana on a yellow background". Which size turns the apple into a banana, and which turns blue to yellow?

// %% [markdown] lang="zh"
// 只有最后一个，它从头到尾没有读过：离要画的图很远，不是苹果，也不是火箭。三段里随便哪一段不读都不要紧：每次都还是苹果、还是火箭，只是火箭变了样（种子 1 和 3；断言比的是级数）。前五步没听到的，第六步就听到了；走过十五步，苹果已经站在那里。第 10 课是从某一步起*一直*闭嘴，那时前面的步子最要紧，因为听到的只有那些。所以并没有哪一步专门用来读提示词。
//
// ## 哪些层听什么？
//
// 改动还可以让*一部分*层听见另一句话。`prompt unet.** sizes=f2 text='…'` 把另一句提示词给网格边长是潜变量一半（8×8）的交叉注意力；`f4` 是 4×4 的那些，`f1` 是 16×16 的那些。（这个想法来自 P+，Voynov 等，2023。）
//
// **先猜一猜：**提示词是蓝底红苹果，其中一种大小的层听到的却是 “a banana on a yellow background”（黄底的香蕉）。哪种大小会把苹果变成香蕉？哪种会把蓝变成黄？

// %%
let mut runs = vec![];
for seed in [1, 2] {
    runs.push((seed, draw(&sd, prompt, seed).run()?));
}
let mut told = vec![];
for (seed, run) in &runs {
    let whole = run.image()?;
    told.push((format!("seed {seed}"), whole.clone()));
    let mut far = vec![];
    for (size, grid) in [("f4", "4×4"), ("f2", "8×8"), ("f1", "16×16")] {
        let edit = format!("prompt unet.** sizes={size} text='a banana on a yellow background'");
        let picture = draw(&sd, prompt, *seed).edit(edit).run()?.image()?;
        let [red, _, blue] = picture.crop(0, 0, 12, 12).mean_colour();
        far.push((picture.difference(&whole), blue - red));
        told.push((format!("told to {grid}"), picture));
    }
    println!("seed {seed}: levels from the apple, and how much bluer than red the corner is: {far:.0?}");
    assert!(far[0].0 < 5.0 && far[1].0 > 20.0 && far[1].1 > 0.0 && far[2].1 < 0.0);
}
sheet_of(4, &told)

// %% [markdown] lang="en"
// The 8×8 layers make a banana of it, and leave it red on blue: *what* is drawn. The 16×16 layers make everything yellow, and leave an apple: in which *colours*. The 4×4 layers are deaf: nothing changes. (The assertion, for two seeds: nothing moves with 4×4; with 8×8 the picture is another and its corner stays blue; with 16×16 the corner turns.) **Why?** Training has shared the work out so; nobody asked for it. It fits what they can see: on the 8×8 grid a place is a part of the thing, on the 16×16 grid a patch of its surface.
//
// **With Stable Diffusion** the layers share the work out, too, but otherwise: there the coarse layers, 16×16 and 8×8, are found to decide what is drawn, the fine ones colours and surfaces (Voynov et al. 2023).
//
// ## Guidance, off for a while
//
// The guidance scale is a tensor too, and can be set: `set guidance_scale by=1 steps=1-10` switches guidance off in the first ten steps (at scale 1 the formula of lesson 2 is the prediction with the prompt, as it is).
//
// **Predict:** off in the first ten steps, or off in the last ten. Which one do you notice?

// %% [markdown] lang="zh"
// 8×8 的层把它变成了香蕉，却还是蓝底上的红香蕉：它们管画*什么*。16×16 的层把一切都变黄，却还是苹果：它们管用什么*颜色*。4×4 的层是聋的：什么也没变。（断言检验两个种子：4×4 时图不动；8×8 时图变了，角落还是蓝的；16×16 时角落的颜色变了。）**为什么？**分工是训练中自己形成的，没有人要求过。和各层看得见的东西倒也相称：8×8 的网格上，一个位置是物体的一部分；16×16 的网格上，一个位置是一小块表面。
//
// **换成 Stable Diffusion：**各层也有分工，但不一样：那里是粗的层（16×16 和 8×8）决定画什么，细的层管颜色和表面（Voynov 等，2023）。
//
// ## 引导，歇一会儿
//
// 引导系数也是一个张量，也可以设：`set guidance_scale by=1 steps=1-10` 在前十步关掉引导（系数为 1 时，第 2 课的公式给出的就是带提示词的预测本身）。
//
// **先猜一猜：**前十步关掉，或者后十步关掉。哪一种你看得出来？

// %%
let mut unguided = vec![];
for ((prompt, word, seed), run) in subjects.iter().zip(&looked) {
    let whole = run.image()?;
    let off = |steps: &str| draw(&sd, prompt, *seed).edit(format!("set guidance_scale by=1 steps={steps}")).run()?.image();
    let (early, late) = (off("1-10")?, off("16-25")?);
    println!("{word:<7} off early {:.1} levels, off late {:.1}", early.difference(&whole), late.difference(&whole));
    assert!(early.difference(&whole) > late.difference(&whole));
    unguided.extend([(word.to_string(), whole), ("off in 1-10".into(), early), ("off in 16-25".into(), late)]);
}
sheet_of(3, &unguided[..3])

// %% [markdown] lang="en"
// Neither much: it is the same apple each time (seed 1). Off early moves the picture further than off late (the assertion, for three subjects), for what is settled early is carried through all the later steps. A program that leaves out the prediction with the empty text wherever the scale is 1 saves half of the work there.
//
// **With Stable Diffusion** guidance is needed more (lesson 2), but not in every step: leaving it out at both ends and keeping it in the middle makes better pictures by the usual measures (Kynkäänniemi et al. 2024).
//
// ## Too late to change your mind?
//
// A recorded run can be taken up at any of its steps, and go on with another prompt: a **branch**. The steps before are those of the record and cost nothing.
//
// **Predict:** a run draws the apple. After step 3, 8 or 20 it is told "a banana on a blue background" instead. From which step on will it stay an apple?

// %% [markdown] lang="zh"
// 两种都不太看得出来：每次都是同一个苹果（种子 1）。前面关掉比后面关掉动得多一些（断言检验了三个例子），因为早先定下的东西会一直带到最后。系数为 1 的步子用不着配空文本的预测，不算它的程序在那里省一半工作量。
//
// **换成 Stable Diffusion：**更离不开引导（第 2 课），但也不是每一步都要：两头不用、只在中间用，按通常的尺子量，图反而更好（Kynkäänniemi 等，2024）。
//
// ## 现在改主意还来得及吗？
//
// 有记录的运行可以从任何一步接着走，换一句提示词，这就是**分叉**。之前的步子都在记录里，不用再算。
//
// **先猜一猜：**一次运行在画苹果，走完第 3、8、20 步之后，改成 “a banana on a blue background”（蓝底的香蕉）。从哪一步起，它就只能是苹果了？

// %%
let wish = "a banana on a blue background";
let mut late = vec![];
for (seed, run) in &runs {
    let (apple, banana) = (run.image()?, draw(&sd, wish, *seed).run()?.image()?);
    let mut far = vec![];
    late.push(("a banana at once".to_string(), banana.clone()));
    for step in [3, 8, 20] {
        let picture = sd.branch(run, step)?.prompt(wish).run()?.image()?;
        far.push((picture.difference(&banana), picture.difference(&apple)));
        late.push((format!("after step {step}"), picture));
    }
    println!("seed {seed}: levels from the banana and from the apple {far:.0?}");
    assert!(far[0].0 < far[1].0 && far[1].0 < far[2].0 && far[0].1 > far[1].1 && far[1].1 > far[2].1);
    late.push(("the apple".to_string(), apple));
}
sheet_of(5, &late[5..])

// %% [markdown] lang="en"
// After step 3 it is the banana all the same, after step 8 a banana that is short and thick, as large as the apple, after step 20 an apple, paler, with a bit of peel where the leaf was (seed 2, an example). The later, the farther from the banana and the nearer to the apple: that is the assertion, for two seeds. **Why?** What is large is settled first (lesson 3): after eight steps it stands where the thing lies and how large it is, after twenty its outline too. The new prompt can only change what is still open.
//
// **With Stable Diffusion** people use it on purpose, by prompts such as `[cat:dog:0.4]` in web UIs: the layout of the one, the surface of the other.
//
// ## The same layout, another thing
//
// You like where the apple lies, but want a green one. Another prompt with the same seed moves things. A **donor** is a recorded run that runs along beside the new one; `copy` takes what is inside it. Here it lends its attention, who looks where, for the first four fifths of the steps: to the text (`attn2`, word by word: "green" takes over from "red") and among the places (`attn1`). That is prompt-to-prompt (Hertz et al. 2022), with more of the self-attention than its authors take.
//
// **Predict:** which is nearer to the red apple's outline: the green apple alone, or the one with a donor? The number is the share of pixels that belong to both apples, of those that belong to either.

// %% [markdown] lang="zh"
// 第 3 步之后改，照样是香蕉；第 8 步之后改，是一根又短又粗、和苹果一般大的香蕉；第 20 步之后改，是一个苹果，只是淡了些，长叶子的地方冒出一点香蕉皮（种子 2，只是一个例子）。改得越晚，离香蕉越远，离苹果越近：断言对两个种子检验了这一点。**为什么？**大的东西先定（第 3 课）：走过八步，位置和大小就定了；走过二十步，轮廓也定了。新的提示词只能改还没定的。
//
// **换成 Stable Diffusion：**人们会有意这样做，在网页界面里写 `[cat:dog:0.4]` 这样的提示词：一个的布局，另一个的表面。
//
// ## 布局不变，东西换掉
//
// 苹果的位置你很满意，只是想要青的。种子不变、换一句提示词，东西会跑位。**供体**是一次有记录的运行，它陪着新的运行一起走；`copy` 把它里面的东西拿过来。这里在前五分之四的步子里借的是注意力，也就是谁看哪里：看文本的（`attn2`，逐词对应，“green” 接过 “red” 的位置）和位置之间互相看的（`attn1`）。这就是 prompt-to-prompt（Hertz 等，2022），只是自注意力借得比作者多。
//
// **先猜一猜：**哪一个的轮廓更接近红苹果：单独画的青苹果，还是有供体的？下面的数，是同时属于两个苹果的像素，占属于其中任意一个的像素的份额。

// %%
// The share of the pixels of either thing that belong to both.
fn overlap(one: &Picture, other: &Picture) -> f64 {
    let pairs: Vec<(bool, bool)> = thing(one).into_iter().zip(thing(other)).collect();
    let (both, either) = (pairs.iter().filter(|(a, b)| *a && *b).count(), pairs.iter().filter(|(a, b)| *a || *b).count());
    both as f64 / either.max(1) as f64
}

let mut lent = vec![];
for (seed, donor) in &runs {
    let green = draw(&sd, "a green apple on a blue background", *seed);
    let lending = green.clone().donor(donor).edit("copy unet.**.attn2.probs map=words steps=0-80%");
    let (red, alone) = (donor.image()?, green.run()?.image()?);
    let borrowed = lending.edit("copy unet.**.attn1.probs steps=0-80%").run()?.image()?;
    println!("seed {seed}: alone {:.0} %, with the donor {:.0} %", 100.0 * overlap(&red, &alone), 100.0 * overlap(&red, &borrowed));
    assert!(overlap(&red, &borrowed) > overlap(&red, &alone));
    lent.extend([(format!("seed {seed}"), red), ("green, alone".into(), alone), ("with the donor".into(), borrowed)]);
}
sheet_of(3, &lent)

// %% [markdown] lang="en"
// The one with the donor: it lies as the red one lies, leaves and all. Alone the green apple is near it too, because the seed is the same, but it has moved (two seeds; the assertion compares the shares). **Why?** Who looks where decides what lies where; what is said there decides what it is. So one can be kept and the other changed.
//
// **With Stable Diffusion** this is how pictures are edited by changing a word. How much of the run to copy is for trying out: too little, and the layout moves; too much, and the new word has nothing left to say.
//
// ## Exercises
//
// 1. Where is "background" listened to in step 10: at the rim, or in the middle? And in the last step? Look at the runs in `looked`; nothing has to be drawn again.
// 2. Two ways to do without guidance from step 16 on: the edit `set guidance_scale by=1 steps=16-25`, and a branch at step 15 with `.guidance_scale(1.0)`. How far apart are their pictures?
// 3. Let a run borrow from itself: the same prompt, the same seed, and its own run as the donor. Predict first, then copy all of the self-attention.
// 4. A friend shows you a map in which "tree" is bright on a tree, and says: this is why the tree is there. What would you try before you believe it?
//
// <details><summary>Answers</summary>
//
// 1. In step 10 at the rim, for all three. In the last step too, but for the rocket (seed 3).
//
//    {answer 1}
//
// 2. Not at all: what comes before step 16 is the same, and then both leave the same out. The branch needs only ten steps for it.
//
//    {answer 2}
//
// 3. What it borrows is what it has anyway. Not bit for bit, since a batch of three rows rounds otherwise than one of two.
//
//    {answer 3}
//
// 4. Hide the word (`mask`), and see whether the tree goes; hide the padding; and both under more than one seed.
//
// </details>

// %% [markdown] lang="zh"
// 有供体的那个：它的位置和红苹果一样，连叶子都对得上。单独画的青苹果也离得不远，因为种子相同，但它动了（两个种子；断言比的是份额）。**为什么？**谁看哪里，决定东西在哪里；在那里听到什么，决定那是什么。所以可以留住一样，换掉另一样。
//
// **换成 Stable Diffusion：**改一个词来改图，用的就是这个办法。借多少步要自己试：借得太少，布局会动；借得太多，新的词就没有说话的余地了。
//
// ## 练习
//
// 1. 第 10 步里，哪里在听 “background”：边上还是中间？最后一步呢？看 `looked` 里的那几次运行就行，不用重画。
// 2. 从第 16 步起不要引导，有两种办法：改动 `set guidance_scale by=1 steps=16-25`，或者在第 15 步分叉并写 `.guidance_scale(1.0)`。两张图差多少？
// 3. 让一次运行向自己借：同样的提示词、同样的种子，供体就是它自己。先猜，再把自注意力全部复制过来。
// 4. 朋友给你看一张图，“tree” 在树上是亮的，说：所以这里才有树。你会先试什么，再决定信不信？
//
// <details><summary>参考答案</summary>
//
// 1. 第 10 步里，三个都是边上。最后一步也是，只有火箭（种子 3）除外。
//
//    {answer 1}
//
// 2. 分毫不差：第 16 步以前两者相同，之后省掉的也相同。分叉只需要走十步。
//
//    {answer 2}
//
// 3. 借来的就是它本来有的。不是每一位都相同，因为三份一批和两份一批，舍入不一样。
//
//    {answer 3}
//
// 4. 把这个词藏起来（`mask`），看树还在不在；再把填充藏起来；而且都不止一个种子。
//
// </details>

// %% answer="1"
for ((_, word, _), run) in subjects.iter().zip(&looked) {
    for step in [10, 25] {
        let map = run.attention_of("background")?.map(step)?;
        let (rim, middle) = (map.slice(s![..2, ..]).mean().unwrap_or(0.0), map.slice(s![5..11, 5..11]).mean().unwrap_or(0.0));
        println!("{word:<7} step {step}: at the rim {:.1} %, in the middle {:.1} %", 100.0 * rim, 100.0 * middle);
        assert!(step > 10 || rim > middle);
    }
}

// %% answer="2"
for (seed, run) in &runs {
    let edited = draw(&sd, prompt, *seed).edit("set guidance_scale by=1 steps=16-25").run()?.image()?;
    let branch = sd.branch(run, 15)?.guidance_scale(1.0).run()?.image()?;
    assert!(edited.difference(&branch) < 0.01);
}

// %% answer="3"
for (seed, run) in &runs {
    let own = draw(&sd, prompt, *seed).donor(run).edit("copy unet.**.attn1").run()?.image()?;
    assert!(own.difference(&run.image()?) < 0.5);
}

// %% [markdown] lang="en"
// ## In the shell
//
//     sdviz trace --prompt "a red apple on a blue background" --seed 1 --attention --out apple
//     sdviz attention apple apple blue background               # maps of words, step by step
//     sdviz attention apple --what shares                       # who gets how much
//     sdviz trace --prompt "a red apple on a blue background" --seed 1 --edit "mask **.attn2 words=apple"
//     sdviz ablate --prompt "a red apple on a blue background" --seed 1 --windows 1-5,6-15,16-25
//     sdviz trace --branch apple@8 --prompt "a banana on a blue background" --out late
//     sdviz trace --prompt "a green apple on a blue background" --seed 1 --donor apple --p2p --out green
//     sdviz plot apple --what plane                             # the way from noise to picture, in the plane of its two ends
//
// `docs/attention.md`, `edits.md`, `branches.md`, `donors.md`, `geometry.md` and `layers.md` have the rest, and what was measured over more pictures than here.
//
// ## In the chapter
//
// | there, in Python | here |
// |---|---|
// | an attention processor that keeps the probabilities (`AttentionStore`, DAAM's `trace`) | `.attention(AttentionPlan::default())`, `run.attention_of("apple")?` |
// | a forward hook that returns zeros in some steps | `.edit("zero **.attn2 steps=1-5")` |
// | `pipe._guidance_scale = 1.0` in `callback_on_step_end`, and the second half of `prompt_embeds` returned from there | `.edit("set guidance_scale by=1 steps=16-25")` |
// | `latents=…` and the timesteps from there on | `sd.branch(&run, 8)?.prompt("…")` |
// | `AttentionReplace(prompts, …)` | `.donor(&run).edit("copy unet.**.attn2.probs map=words steps=0-80%")` |

// %% [markdown] lang="zh"
// ## 在命令行里
//
//     sdviz trace --prompt "a red apple on a blue background" --seed 1 --attention --out apple
//     sdviz attention apple apple blue background               # 各个词的注意力图，一步一步
//     sdviz attention apple --what shares                       # 谁得到多少
//     sdviz trace --prompt "a red apple on a blue background" --seed 1 --edit "mask **.attn2 words=apple"
//     sdviz ablate --prompt "a red apple on a blue background" --seed 1 --windows 1-5,6-15,16-25
//     sdviz trace --branch apple@8 --prompt "a banana on a blue background" --out late
//     sdviz trace --prompt "a green apple on a blue background" --seed 1 --donor apple --p2p --out green
//     sdviz plot apple --what plane                             # 从噪声到图的路，画在首尾两端所在的平面里
//
// 其余的在 `docs/attention.md`、`edits.md`、`branches.md`、`donors.md`、`geometry.md` 和 `layers.md` 里，那里还有用更多图量出来的结果。
//
// ## 对照原书
//
// | 书里的 Python | 这里 |
// |---|---|
// | 把概率留下来的注意力处理器（`AttentionStore`、DAAM 的 `trace`） | `.attention(AttentionPlan::default())`，`run.attention_of("apple")?` |
// | 在某些采样步返回零的 forward hook | `.edit("zero **.attn2 steps=1-5")` |
// | 在 `callback_on_step_end` 里写 `pipe._guidance_scale = 1.0`，并返回 `prompt_embeds` 的后一半 | `.edit("set guidance_scale by=1 steps=16-25")` |
// | `latents=…`，时间步从那里开始 | `sd.branch(&run, 8)?.prompt("…")` |
// | `AttentionReplace(prompts, …)` | `.donor(&run).edit("copy unet.**.attn2.probs map=words steps=0-80%")` |
