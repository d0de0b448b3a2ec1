// Lesson mode in English: questions, and the guided pages.
export const lesson = {
  label: "Lesson",
  tour: "Guided tour",
  about:
    "Say first what you think, then look. Guessing is the point: those who guess, right or wrong, see more than those who only watch.",
  seed: "Number of the lesson",
  seedAbout: "The same number gives the same questions; give everyone their own, or all the same.",
  question: (n: number) => `Question ${n}`,
  score: (right: number, of: number) => `${right} of ${of} right`,
  commit: "That is my guess",
  next: "Next question",
  right: "Right.",
  wrong: "Not this time. Your guess stays beside the truth.",
  yours: "your guess",
  truth: "the truth",
  whyNow: "Say why before you read on.",
  showWhy: "Show why",
  again: "Change it, and guess again",
  changeBack: "Now as it was asked at first, with other choices.",
  /** What is said instead of `explain` where expected pictures were asked about. */
  expected: {
    order: "Expected pictures hold no grain. They begin as an average of many pictures, soft and plain, and become one particular picture: what is settled gives the order away.",
    where: "An expected picture holds no grain; how particular it has become tells how far along the run is. It changes little in the second half, so that half is hard to tell apart.",
  },
  position: (n: number) => `place ${n}`,
  unplaced: "not placed yet",
  startOver: "Start over",
  notes: "Lecturer's notes",
  none: "This page holds too little for questions: a run with decoded pictures is needed.",
  needs: "More kinds of question with",
  stepLabel: (n: number) => `step ${n}`,
  scaleLabel: (s: string) => `s = ${s}`,
  channelLabel: (n: number) => `channel ${n}`,
  picture: (n: number) => `Picture ${n}`,
  allWords: "the words, all together",
  kinds: {
    order: {
      title: "In which order?",
      ask: "These are steps of one run. Click them from the first to the last.",
      explain:
        "The run starts from pure noise and ends at the picture. Each step leaves less noise behind, so the grain gives the order away.",
      why: "Why does the rough shape come before the detail?",
      because:
        "While the noise is strong it drowns everything fine, and only large shapes and colours stand out of it: so these are settled first. Detail can only be settled once the noise is weaker than the detail.",
      change: "Now with the pictures that the model expects, instead of where the run is. They hold no grain: what gives their order away?",
      notes:
        "Let everyone place all frames before the reveal, and ask two who disagree for their reasons. After a miss there are three frames instead of five. The second round takes the grain away: what is left to see is that the expected picture begins as an average and becomes particular.",
    },
    where: {
      title: "How far along is it?",
      ask: "One step of the run. Which one is it?",
      explain: "The grain tells how much noise is left, and the schedule says at which step that much is left.",
      why: "Why is the picture noisy for so much of the way, and then clear so suddenly?",
      because:
        "Our eyes need far more signal than noise. The share of the picture grows evenly, but the noise only falls under what we notice near the end.",
      change: "Now the expected picture of some step. How far along is it this time?",
      notes:
        "Have the class raise hands for each answer, then show. Expect guesses that are too early: a picture that looks half done is usually well past half. The curve “Signal and noise” in the player shows why.",
    },
    first: {
      title: "The first guess",
      ask: "Already at the first step the model expects a whole picture. Which of these is that first expectation?",
      explain:
        "It is the vague one. From pure noise many pictures are possible, and the best single answer is something like their average.",
      why: "Why not take one step and stop there?",
      because:
        "One step would give you this average. Every further step takes a little more noise away, so the model sees more and can correct its expectation, until the picture is a particular one. That is also one reason why few steps give soft pictures.",
      change: "Another choice of steps, closer together. Which came first?",
      notes:
        "This is the place for “why do fewer steps look different?”. With 2 steps the run must go half its way on an expectation this vague; with 50 it goes only a little on any single one. Then show the curve “Change” in the player.",
    },
    scale: {
      title: "Which scale?",
      ask: "The same step, recomputed with three guidance scales. Which one has the highest?",
      explain: "The higher the scale, the further it goes from “without the prompt” towards “with the prompt”, and past it.",
      why: "What would you expect of a scale of 100?",
      because:
        "The difference of the two predictions would drown everything else. Colours run to their extremes and shapes break up: the latents become something that the model has never seen in training.",
      change: "Now at another step of the same run. Guess again.",
      notes:
        "These are single steps, painted by the linear map, not whole runs: say so. A whole run with another scale would have gone another way from the start. A sweep over several scales shows that: `sdviz sweep --guidance-scale 1,5,12`.",
    },
    uncond: {
      title: "Which one was made without the prompt?",
      ask: "Three expected pictures of the same step. One of them was made without the prompt. Which?",
      explain: "Without the prompt the model has only the latents to go by: it sees what is there already, and expects a paler, more ordinary version of it.",
      why: "Why ask the model without the prompt at all?",
      because:
        "To have something to go away from. The difference of the two answers is what the prompt changes, and guidance makes more of just that.",
      change: "Now at a later step. Is it still as easy?",
      notes:
        "Late in the run the latents themselves already show the thing, so the answer without the prompt shows it too: in the picture the prompt matters most early. Do not look for this in the curves of the guidance view: they measure the noise predictions, whose difference need not shrink. But the less noise there is left, the less a prediction of it can change the picture.",
    },
    channel: {
      title: "Which channel is the brightness?",
      ask: "The four channels of the finished latents, in grey. Which of them follows light and dark the most?",
      explain: "No channel is red, green or blue, but one of them goes with brightness more than the others do.",
      why: "Who decided what each channel means?",
      because:
        "Nobody. The autoencoder, whose second half is the decoder, was trained to put a picture into four numbers per place and to rebuild it from them; what each number means is what came out of that, and another training gives other channels.",
      change: "Now before the run is over. Can it be seen through the noise?",
      notes:
        "The truth here is the correlation with the brightness of the linear map's picture; its sign does not matter: a channel may hold brightness upside down. Let the class try channels in the lab first.",
    },
    word: {
      title: "Which word does this map belong to?",
      ask: "From each place of the picture the model looks at the words of the prompt. This map is bright where one of them gets the most attention. Which word?",
      explain: "A word for a thing is mostly looked at from where the thing is or comes to be; a word for the ground from around it.",
      why: "Why are the edges of the map so much softer than those of the thing?",
      because:
        "Attention is counted on a small grid, one number for a square of many pixels. And the map is a mean over heads: each looks for something else, one along an outline, another all over.",
      change: "Now at an early step, when the picture is still a blur. Does the map tell already?",
      notes:
        "The maps are those of the layers with the largest image, each in its own range: bright means most of this map, not much. The view “Words” has the numbers. Words whose maps are alike are kept out of the choices; show one of them afterwards.",
    },
    looked: {
      title: "Where is this word looked at from?",
      ask: "Three maps of one step. Which of them belongs to the word",
      explain: "It is bright where the model gives this word the most of its attention.",
      why: "Does a map show what its word does to the picture?",
      because:
        "No. It shows where the model looks, and looking is not yet doing. Words also hold something of the words before them, so “apple” can bring the red along. What a word does is seen when it is taken away and the run is made again.",
      change: "Now at an early step. Is it as easy?",
      notes:
        "Make the other run live: `sdviz trace --edit \"mask **.attn2 words=apple\"`, with the same prompt and seed, then `sdviz report` of both: the view “Edits” has before and after.",
    },
    most: {
      title: "Who gets the most?",
      ask: "At each place attention is divided among the mark for the beginning, the words, the mark for the end, and the padding that fills the rest of the window. In the mean over the picture and the steps, who gets the most?",
      explain: "It need not be a word. Attention adds up to 100 % at each place, even where no word matters there, and the rest has to go somewhere.",
      why: "How can the padding, which stands for nothing, be worth looking at?",
      because:
        "It is not empty. In the text encoder each place sees all the places before it, so the end and the padding have read the whole prompt: they hold it as a whole, where a word’s own place holds the word.",
      change: "Now leave that one out. Who comes next?",
      notes: "Models differ in this: show the chart “Who gets the attention” in the view “Words”, and a run of another model if there is one.",
    },
    steps: {
      title: "How many steps?",
      ask: "Finished pictures of the same prompt and seed. Which of them took the fewest steps?",
      explain: "With few steps each one has to cover a long way on a single expectation, and expectations are vague early on.",
      why: "Why do twice as many steps not look twice as good?",
      because:
        "The path from the noise to the picture is smooth. Once the steps are short enough to follow it, shorter ones follow the same path, and the picture hardly changes. (Not so with schedulers that add fresh noise in each step.)",
      change: "Now half way through each of them. Which takes the fewest steps?",
      notes: "Runs that differ only in their steps make this question: `sdviz sweep --steps 4,8,25`.",
    },
    prompt: {
      title: "Which prompt?",
      ask: "An early step of a run. Which prompt was it given?",
      explain: "The rough layout and the colours are settled early; what the thing is comes later.",
      why: "What in the prompt can be told so early, and what not?",
      because:
        "Words for colours and large shapes act on what is settled first. Words for detail act on what is settled last, and can still be exchanged late in the run.",
      change: "Now earlier still. Can you tell?",
      notes: "Runs with other prompts make this question: `sdviz report` with several of them, or `sdviz sweep --replace apple=apple,banana`.",
    },
  },
  guide: {
    start: "Begin the tour",
    guess: "Guess first",
    show: "Show",
    back: "Back",
    next: "Next",
    end: "End the tour",
    place: (n: number, of: number) => `page ${n} of ${of}`,
    pages: {
      overview: {
        title: "From text to picture",
        guess: "Of the five boxes above, in how many is there a picture?",
        body: "In one, the last. The prompt becomes numbers at once, and up to the last box everything is numbers: the pictures that you watch in between are made only to be looked at. The arrows say how many there are. Click a box to see what happens in it.",
        notes: "Let them compare the numbers on the arrows: the latents hold far fewer numbers than the picture. That is what makes it affordable.",
      },
      noise: {
        title: "It starts from noise",
        guess: "What is there at step 0?",
        body: "Noise, and nothing else. The seed decides which noise: the same seed gives the same start, and with the same prompt and settings the same picture. Play it from here.",
        notes: "Press Space. Then 0 and 9 to jump. Ask when each of them first recognised the thing, and compare.",
      },
      latent: {
        title: "What a latent is",
        guess: "A picture has three channels: red, green, blue. How many channels do the latents have, and what are they?",
        body: "Four, and they have no names. A latent is a small grid of numbers that stands for a picture: each place stands for a square of pixels, and its four numbers together say what the square holds. The model works on this grid and never on pixels. The decoder turns the grid into the picture at the end. What you see here is three of the four channels shown as colours.",
        notes: "If they should remember one sentence: a latent is a compressed picture that the model works on, because the whole picture would be too much.",
      },
      channels: {
        title: "Each channel alone",
        guess: "Which of the four looks the most like the picture?",
        body: "None is the picture. One usually goes with light and dark, and together they hold colours and shapes; none of them has a name. Choose other channels for red, green and blue and watch the colours change while the shapes stay.",
        notes: "Show the linear map beside it: twelve weights are enough for the colours, not for the detail. The rest is what the decoder has learnt.",
      },
      predict: {
        title: "What the model does",
        guess: "At each step the model gives one answer. What is it an answer to?",
        body: "“Which part of this is noise?” It does not draw. It says what does not belong to a picture, and a part of that is taken away. Then it is asked again.",
        notes: "The picture of the noise looks like noise all the way. That is right: it is what is taken away.",
      },
      expected: {
        title: "Where it thinks it goes",
        guess: "After the very first step, what does the model expect the finished picture to look like?",
        body: "Something vague, like an average of everything that fits the prompt. Take away at once all the noise that the model sees, and this is left: the expected picture. Go on step by step and watch it become one particular picture.",
        notes: "It is also called x₀ or the predicted original. Stop at two or three steps and ask what has been decided since.",
      },
      words: {
        title: "Where it looks at the words",
        guess: "From which part of the picture does the model look at each of these words?",
        body: "Where a map is bright, that place gives the word more of its attention than others do. Words for things are mostly looked at from where the thing comes to be, words for the ground from around it. Choose other words, and go through the steps: the maps are there long before the picture is.",
        notes: "Read the numbers below the maps: every word has a range of its own, so a bright map can stand for little. And a map says where the model looks, not what the word does.",
      },
      guidance: {
        title: "Asked twice",
        guess: "Why would one ask the model a second time, without the prompt?",
        body: "To see what the prompt changes. The two answers are nearly the same; their difference is the prompt's pull. Guidance multiplies that pull by a number, the guidance scale, and adds it to the answer without the prompt. What it changes: the picture shows more of what the prompt says.",
        notes: "The picture of the difference is amplified; otherwise nothing could be seen. Point at the lengths below the pictures.",
      },
      scale: {
        title: "More of it, or less",
        guess: "What happens to the expected picture at scale 0, and at scale 20?",
        body: "At 0 the prompt counts for nothing. At 1 the model’s answer with the prompt is taken as it is. Above 1 the prompt's pull is exaggerated: the thing becomes clearer and the colours stronger, until the picture breaks. Move the slider. This is one step only; in a run the pull adds up over all steps.",
        notes: "Typical scales for Stable Diffusion are 5 to 10. Ask what is lost as the scale rises: variety, and soft colours.",
      },
      steps: {
        title: "Why fewer steps look different",
        guess: "Would the same seed with far fewer steps give the same picture, only coarser?",
        body: "Not quite the same. The expected picture moves at every step, most of all early on: see the curve “Change”. A run of few steps takes long strides towards expectations that are still vague, and so it arrives elsewhere: softer, with less detail, sometimes with another layout.",
        notes: "Sweep it live: `sdviz sweep --steps 4,8,25`. The page of the sweep then has the question “How many steps?”.",
      },
      decode: {
        title: "To pixels",
        guess: "Where does the fine detail come from, when the latents are so small?",
        body: "From the decoder. It has learnt from many pictures what a square with these four numbers looks like. It runs once, at the end; those of all the other steps were decoded for you alone.",
        notes: "End here, and let them say in their own words: what is a latent, what does guidance change, why do fewer steps look different?",
      },
    },
  },
};
