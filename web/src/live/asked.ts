// The form's fields, and what is sent of them: nothing that was left as it is.
import type { Summary } from "./types";

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

/** The same settings as a run's, as far as its summary has them. */
export function like(run: Summary): Partial<Fields> {
  const { prompt, seed, steps, width, height, scheduler, sigmas = "", pictures } = run;
  return { prompt, negative: run.negative_prompt, seed, steps, scale: run.guidance_scale, width, height, scheduler, sigmas, pictures };
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
