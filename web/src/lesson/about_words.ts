// Questions about the words of a prompt, of runs whose attention was recorded.
import type { AttentionView, Look } from "../data/attention";
import type { RunView } from "../data/run";
import { correlation } from "./brightness";
import type { Choice, Part, Question, Stock } from "./questions";

/** The layers with the largest image alone: their maps say the most about where a thing is. */
export function largest(attention: AttentionView): Look {
  return { factor: attention.kept.sizes[0]?.factor ?? null, hard: false, head: null };
}

/** How many words or maps there are to choose from. */
const CHOICES = 3;

/** The words that can be asked about: those that get the most, articles and the like apart. */
export function telling(run: RunView): string[] {
  const { attention } = run;
  if (!attention) return [];
  const last = attention.kept.steps.at(-1) ?? 0;
  const there = attention.words(last).map((word) => word.word);
  return attention.strongest(5).filter((word) => there.includes(word));
}

/** How two words' maps go together at a step, by correlation. */
async function alike(run: RunView, step: number, a: string, b: string): Promise<number> {
  const attention = run.attention!;
  const look = largest(attention);
  const [one, other] = await Promise.all([attention.map(step, a, look), attention.map(step, b, look)]);
  return one && other ? correlation(one.data, other.data) : 1;
}

/** A word and those whose maps are the least like its own, mixed; and at which step they are asked about. */
async function chosen({ run, chance, turn }: Stock): Promise<{ right: string; mixed: string[]; step: number } | null> {
  const words = telling(run);
  if (words.length < CHOICES) return null;
  const right = chance.pick(words);
  const { steps } = run.attention!.kept;
  const share = turn % 2 === 0 ? 0.6 + 0.3 * chance.next() : 0.1 + 0.1 * chance.next();
  const step = steps[Math.floor(share * steps.length)]!;
  const others = words.filter((word) => word !== right);
  const near = await Promise.all(others.map((word) => alike(run, step, right, word)));
  const order = [...others.keys()].sort((a, b) => near[a]! - near[b]!);
  const mixed = chance.shuffled([right, ...order.slice(0, CHOICES - 1).map((i) => others[i]!)]);
  return { right, mixed, step };
}

/** A map, and which word it belongs to. */
export async function word(stock: Stock): Promise<Question | null> {
  const found = await chosen(stock);
  if (!found) return null;
  const { right, mixed, step } = found;
  const choices = mixed.map((text): Choice => ({ shown: null, label: { text } }));
  return { kind: "word", look: [{ as: "word", run: stock.run, step, word: right }], choices, answer: [mixed.indexOf(right)] };
}

/** A word, and which map belongs to it. */
export async function looked(stock: Stock): Promise<Question | null> {
  const found = await chosen(stock);
  if (!found) return null;
  const { right, mixed, step } = found;
  const choices = mixed.map((text): Choice => ({ shown: { as: "word", run: stock.run, step, word: text }, label: { text } }));
  return { kind: "looked", subject: right, look: [], choices, answer: [mixed.indexOf(right)] };
}

/** Who gets how much in the mean over the steps: the words together, and what stands around them. */
export function parts({ kept }: AttentionView): { part: Part; share: number }[] {
  const sums: Record<Part, number> = { start: 0, words: 0, end: 0, padding: 0 };
  const around: Record<string, Part> = { "<start>": "start", "<end>": "end", "<padding>": "padding" };
  for (const { of, points } of kept.shares) {
    sums[around[of] ?? "words"] += points.reduce((sum, [, value]) => sum + value, 0) / Math.max(points.length, 1);
  }
  return (Object.keys(sums) as Part[]).map((part) => ({ part, share: sums[part] })).filter(({ share }) => share > 0);
}

/** Who gets the most; asked again, who comes next. */
export function most({ run, chance, turn }: Stock): Question | null {
  const order = parts(run.attention!).sort((a, b) => b.share - a.share);
  const left = turn % 2 === 1 && order.length > 3 ? order.slice(1) : order;
  const mixed = chance.shuffled(left);
  const choices = mixed.map(({ part }): Choice => ({ shown: null, label: { part } }));
  return { kind: "most", look: [{ as: "step", run, step: run.last, what: "latents" }], choices, answer: [mixed.indexOf(left[0]!)] };
}
