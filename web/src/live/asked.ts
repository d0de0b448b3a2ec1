// The form's fields, and what is sent of them: nothing that was left as it is.
import type { Plan } from "../data/types";
import type { Capabilities, Summary } from "./types";

export interface Fields {
  prompt: string;
  negative: string;
  syntax: "plain" | "a1111";
  clipSkip: number | null;
  seed: number | null;
  steps: number | null;
  scale: number | null;
  width: number | null;
  height: number | null;
  scheduler: string;
  sigmas: string;
  eta: number | null;
  rescale: number | null;
  pictures: number | null;
  image: string | null;
  mask: string | null;
  strength: number;
  resize: "stretch" | "crop" | "pad";
  paste: boolean;
  hires: boolean;
  hiresScale: number | null;
  hiresStrength: number | null;
  hiresSteps: number | null;
  upscaler: "latent" | "lanczos";
  record: string[] | null;
  decode: string;
  attention: boolean;
}

export function empty(): Fields {
  return {
    prompt: "",
    negative: "",
    syntax: "plain",
    clipSkip: null,
    seed: null,
    steps: null,
    scale: null,
    width: null,
    height: null,
    scheduler: "",
    sigmas: "",
    eta: null,
    rescale: null,
    pictures: null,
    image: null,
    mask: null,
    strength: 0.75,
    resize: "stretch",
    paste: false,
    hires: false,
    hiresScale: 2,
    hiresStrength: 0.6,
    hiresSteps: null,
    upscaler: "latent",
    record: null,
    decode: "",
    attention: false,
  };
}

/** Whether a scheduler takes eta. */
export function takesEta(about: Capabilities, scheduler: string): boolean {
  return about.schedulers.find(({ name }) => name === scheduler)?.takes_eta ?? scheduler === "ddim";
}

/** What the model decodes of itself is no choice of its own in the form. */
function decoded(decode: string, about: Capabilities): string {
  return decode === (about.model!.small ? "every" : "final") ? "" : decode;
}

/** The same settings as a run's: all of its plan, but for pictures, which the record does not hold; of a run that waits, those of its summary. */
export function like(run: Summary, plan: Plan | null, about: Capabilities): Fields {
  const { prompt, seed, steps, width, height, scheduler, sigmas = "", pictures } = run;
  const all: Fields = { ...empty(), prompt, negative: run.negative_prompt, seed, steps, scale: run.guidance_scale, width, height, scheduler, sigmas, pictures };
  if (!plan) return all;
  const { hires } = plan;
  return {
    ...all,
    syntax: plan.prompt_syntax === "a1111" ? "a1111" : "plain",
    clipSkip: plan.clip_skip ?? 1,
    eta: takesEta(about, plan.scheduler) ? plan.eta : null,
    rescale: plan.guidance_rescale ?? null,
    strength: plan.strength ?? all.strength,
    resize: plan.resize ?? all.resize,
    paste: plan.paste ?? false,
    ...(hires && { hires: true, hiresScale: hires.scale, hiresStrength: hires.strength, hiresSteps: hires.steps, upscaler: hires.upscaler }),
    record: plan.record,
    decode: decoded(plan.decode, about),
    attention: Boolean(plan.attention),
  };
}

/** What is sent: the server has its own for what is not. */
export function asked(fields: Fields): Record<string, unknown> {
  const all: Record<string, unknown> = {
    prompt: fields.prompt,
    negative_prompt: fields.negative || null,
    prompt_syntax: fields.syntax === "plain" ? null : fields.syntax,
    clip_skip: fields.clipSkip,
    seed: fields.seed,
    steps: fields.steps,
    guidance_scale: fields.scale,
    width: fields.width,
    height: fields.height,
    scheduler: fields.scheduler || null,
    sigmas: fields.sigmas || null,
    eta: fields.eta,
    guidance_rescale: fields.rescale,
    pictures: fields.pictures,
    record: fields.record,
    decode: fields.decode || null,
    attention: fields.attention || null,
  };
  if (fields.image) {
    Object.assign(all, { init_image: fields.image, strength: fields.strength, resize: fields.resize });
    if (fields.mask) Object.assign(all, { mask: fields.mask, paste: fields.paste });
  } else if (fields.hires) {
    const { hiresScale: scale, hiresStrength: strength, hiresSteps: steps, upscaler } = fields;
    all.hires = given({ scale, strength, steps, upscaler });
  }
  return given(all);
}

function given(all: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null && value !== undefined));
}
