// Questions made of a page's own runs, by a seed: each is something to look at, choices, and the truth. A kind that the
// runs cannot give is left out.
import type { RunView } from "../data/run";
import type { Quantity, What } from "../data/types";
import { mix, Random } from "../maths/random";
import { brightest } from "./brightness";
import { looked, most, parts, telling, word } from "./about_words";

export const KINDS = ["order", "where", "first", "scale", "uncond", "channel", "word", "looked", "most", "steps", "prompt"] as const;

export type Kind = (typeof KINDS)[number];

/** Among whom attention is divided. */
export type Part = "start" | "words" | "end" | "padding";

/** Something to look at. */
export type Shown =
  | { as: "step"; run: RunView; step: number; what: What }
  | { as: "expected"; run: RunView; step: number; scale: number }
  | { as: "channel"; run: RunView; step: number; channel: number }
  | { as: "word"; run: RunView; step: number; word: string };

export interface Choice {
  shown: Shown | null;
  /** Words instead of a picture, or said of a picture once it is revealed. */
  label: { step?: number; scale?: number; channel?: number; text?: string; part?: Part };
}

export interface Question {
  kind: Kind;
  /** The word that is asked about. */
  subject?: string;
  /** What the question is about, where the choices are words. */
  look: Shown[];
  choices: Choice[];
  /** The right choice; for an order the choices from first to last. */
  answer: number[];
}

/** What a question is made with. */
export interface Stock {
  run: RunView;
  runs: readonly RunView[];
  chance: Random;
  /** How often it was changed and asked again. */
  turn: number;
  /** After a miss there is less to choose from. */
  easy: boolean;
}

type Maker = (stock: Stock) => Question | null | Promise<Question | null>;

const MAKERS: Record<Kind, Maker> = { order, where, first, scale, uncond, channel, word, looked, most, steps, prompt };

/** The kinds that a page's runs can give. */
export function offered(run: RunView, runs: readonly RunView[]): Kind[] {
  return KINDS.filter((kind) => fits(kind, run, runs));
}

function fits(kind: Kind, run: RunView, runs: readonly RunView[]): boolean {
  const pictured = pictures(run, "latents").length;
  const predicted = expected(run).length;
  if (kind === "order" || kind === "where") return Math.max(pictured, predicted) >= 5;
  if (kind === "first") return predicted >= 4;
  if (kind === "scale" || kind === "uncond") return guided(run).length >= 3;
  if (kind === "channel") return run.data.map !== null && run.has("latents") && run.record.model.latent_channels === 4;
  if (kind === "word" || kind === "looked") return run.attention?.mapped === true && telling(run).length >= 3;
  if (kind === "most") return run.attention !== null && parts(run.attention).length >= 3;
  if (kind === "steps") return alike(run, runs, "steps").length >= 2;
  return alike(run, runs, "prompt").length >= 2;
}

/** What to type for the kinds that these runs cannot give. */
export function needed(run: RunView, runs: readonly RunView[]): string[] {
  const flags = new Set<string>();
  const missing = KINDS.filter((kind) => !fits(kind, run, runs));
  const lacks = (...kinds: Kind[]) => kinds.some((kind) => missing.includes(kind));
  if (lacks("order", "where", "first", "scale", "channel") && run.data.map === null) flags.add("--decode every");
  if (lacks("scale", "first")) {
    if (lacks("scale") && run.plan.guidance_scale <= 1) flags.add("--guidance-scale 7.5");
    const wanted: Quantity[] = lacks("scale") ? ["latents", "noise_uncond", "noise_text"] : ["predicted_original"];
    const gone = wanted.filter((key) => !run.has(key));
    if (gone.length) flags.add(gone.every((key) => run.plan.record.includes(key)) ? "sdviz report --full" : "--record all");
  }
  if (lacks("word", "most") && !run.attention?.mapped) flags.add(run.attention ? "sdviz report --full" : "--attention");
  if (lacks("steps")) flags.add("sdviz sweep --steps 4,8,25");
  if (lacks("prompt")) flags.add("sdviz sweep --prompt A --prompt B");
  return [...flags];
}

/** The question of this number in the lesson of this seed. */
export async function question(
  kinds: readonly Kind[],
  run: RunView,
  runs: readonly RunView[],
  lesson: { seed: number; number: number; turn: number; missed: boolean },
): Promise<Question | null> {
  if (kinds.length === 0) return null;
  const { seed, number, turn, missed } = lesson;
  const order = new Random(mix(seed, 1_000 + Math.floor(number / kinds.length))).shuffled(kinds);
  const kind = order[number % kinds.length]!;
  const chance = new Random(mix(mix(seed, number), turn));
  return MAKERS[kind]({ run, runs, chance, turn, easy: missed });
}

/** The steps of which a picture is here; the finished one stands for the last. */
function pictures(run: RunView, what: What): number[] {
  return run.data.pictures[what]?.steps ?? [];
}

/** The steps whose expected picture can be shown: decoded, or drawn by the linear map. */
function expected(run: RunView): number[] {
  const decoded = pictures(run, "predicted_original");
  if (decoded.length >= 4 || run.data.map === null) return decoded;
  return run.data.tensors.predicted_original?.steps ?? [];
}

/** The steps whose guidance can be taken apart and painted. */
function guided(run: RunView): number[] {
  const { noise_uncond: uncond, noise_text: text, latents } = run.data.tensors;
  if (!uncond || !text || run.data.map === null) return [];
  return text.steps.filter((step) => step > 0 && uncond.steps.includes(step) && latents?.steps.includes(step - 1));
}

/** Finished runs that are like this one but for one setting, each value once. */
function alike(run: RunView, runs: readonly RunView[], field: "steps" | "prompt"): RunView[] {
  const other = field === "steps" ? "prompt" : "steps";
  const { plan } = run;
  const same = runs.filter(
    ({ plan: p, data, record }) =>
      p[other] === plan[other] && p.seed === plan.seed && p.guidance_scale === plan.guidance_scale && p.scheduler === plan.scheduler && record.model.id === run.record.model.id && data.final,
  );
  return same.filter((one, i) => same.findIndex((first) => first.plan[field] === one.plan[field]) === i);
}

/** `count` steps well apart, with a little chance in each. */
export function apart(steps: readonly number[], count: number, chance: Random): number[] {
  const width = steps.length / count;
  return Array.from({ length: count }, (_, i) => steps[Math.floor(i * width + (0.2 + 0.6 * chance.next()) * width)]!);
}

function order({ run, chance, turn, easy }: Stock): Question | null {
  const what: What = turn % 2 === 1 && expected(run).length >= 5 ? "predicted_original" : "latents";
  const there = what === "latents" && pictures(run, "latents").length >= 5 ? pictures(run, "latents") : expected(run);
  const chosen = apart(there, easy ? 3 : 5, chance);
  const shown = there === pictures(run, "latents") ? "latents" : "predicted_original";
  const mixed = chance.shuffled(chosen);
  const choices = mixed.map((step): Choice => ({ shown: { as: "step", run, step, what: shown }, label: { step } }));
  return { kind: "order", look: [], choices, answer: chosen.map((step) => mixed.indexOf(step)) };
}

function where({ run, chance, turn }: Stock): Question | null {
  const early = pictures(run, "latents").length >= 5 && turn % 2 === 0;
  const there = early ? pictures(run, "latents") : expected(run);
  const options = apart(there, 4, chance);
  const right = chance.below(options.length);
  const what: What = early ? "latents" : "predicted_original";
  return {
    kind: "where",
    look: [{ as: "step", run, step: options[right]!, what }],
    choices: options.map((step) => ({ shown: null, label: { step } })),
    answer: [right],
  };
}

function first({ run, chance, turn }: Stock): Question | null {
  const all = expected(run);
  const there = turn % 2 === 0 ? all : all.slice(0, Math.max(Math.ceil(all.length / 2), 4));
  const chosen = [there[0]!, ...apart(there.slice(1), 3, chance)];
  const mixed = chance.shuffled(chosen);
  const choices = mixed.map((step): Choice => ({ shown: { as: "step", run, step, what: "predicted_original" }, label: { step } }));
  return { kind: "first", look: [], choices, answer: [mixed.indexOf(chosen[0]!)] };
}

function byScale(kind: Kind, { run, chance, turn }: Stock, scales: number[], wanted: number): Question {
  const steps = guided(run);
  // The pull of the prompt is plainest early on; each change goes further.
  const share = Math.min(0.15 + 0.25 * turn + 0.15 * chance.next(), 0.9);
  const step = steps[Math.floor(share * steps.length)]!;
  const mixed = chance.shuffled(scales);
  const choices = mixed.map((s): Choice => ({ shown: { as: "expected", run, step, scale: s }, label: { scale: s } }));
  return { kind, look: [], choices, answer: [mixed.indexOf(wanted)] };
}

function scale(stock: Stock): Question {
  const own = stock.run.plan.guidance_scale;
  const scales = [1, own, Math.round(2.5 * own * 2) / 2];
  return byScale("scale", stock, scales, scales[2]!);
}

function uncond(stock: Stock): Question {
  const own = stock.run.plan.guidance_scale;
  return byScale("uncond", stock, [0, own, Math.round(1.8 * own * 2) / 2], 0);
}

async function channel({ run, turn }: Stock): Promise<Question | null> {
  const steps = run.data.tensors.latents!.steps;
  const step = turn % 2 === 0 ? steps.at(-1)! : steps[Math.floor(0.7 * (steps.length - 1))]!;
  const answer = await brightest(run, steps.at(-1)!);
  if (answer === null) return null;
  const choices = [0, 1, 2, 3].map((c): Choice => ({ shown: { as: "channel", run, step, channel: c }, label: { channel: c } }));
  return { kind: "channel", look: [{ as: "step", run, step, what: "latents" }], choices, answer: [answer] };
}

function steps({ run, runs, chance, turn }: Stock): Question | null {
  const chosen = chance.shuffled(alike(run, runs, "steps")).slice(0, 4);
  const fewest = Math.min(...chosen.map((one) => one.plan.steps));
  const at = (one: RunView) => (turn % 2 === 0 ? one.last : one.data.steps[Math.floor(one.data.steps.length / 2)]!);
  const choices = chosen.map((one): Choice => ({
    shown: { as: "step", run: one, step: at(one), what: "latents" },
    label: { step: one.plan.steps },
  }));
  return { kind: "steps", look: [], choices, answer: [chosen.findIndex((one) => one.plan.steps === fewest)] };
}

function prompt({ run, runs, chance, turn }: Stock): Question | null {
  const chosen = chance.shuffled(alike(run, runs, "prompt")).slice(0, 4);
  const right = chance.below(chosen.length);
  const one = chosen[right]!;
  const step = one.data.steps[Math.floor(Math.max(0.55 - 0.15 * turn, 0.1) * one.data.steps.length)]!;
  return {
    kind: "prompt",
    look: [{ as: "step", run: one, step, what: "latents" }],
    choices: chosen.map(({ plan }) => ({ shown: null, label: { text: plan.prompt } })),
    answer: [right],
  };
}
