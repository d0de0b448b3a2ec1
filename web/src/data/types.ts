// What the page is given, as `sdviz report` writes it and `sdviz serve` sends it. The record is `run.json`
// (docs/run-format.md); only the fields that the page reads are named here.

/** A tensor that a step can record, by its key in the step's file. */
export type Quantity = "latents" | "noise_uncond" | "noise_text" | "noise_guided" | "predicted_original";

/** What of a step can be decoded to a picture. */
export type What = "latents" | "predicted_original";

/** How numbers are kept; `u8`: each map of attention in 256 levels from its least to its greatest number. */
export type Dtype = "f32" | "f16" | "u8";

/** Everything in one page. */
export interface Report {
  format: 1;
  runs: RunData[];
  sweep: SweepData | null;
  /** What the page is written within, in bytes, and what it came to. */
  budget: { limit: number; tensors: number; pictures: number } | null;
}

/** A run, or one picture of its batch. */
export interface RunData {
  /** Names its blocks; on a server, the run. */
  id: string;
  /** What its folder is called. */
  name: string;
  /** Which picture of the batch. */
  batch: number;
  record: RunRecord;
  /** The whole steps, ascending; 0 is the starting latents. */
  steps: number[];
  tensors: Partial<Record<Quantity, Kept>>;
  /** What the words of the prompt are looked at from; none where it was not recorded. */
  attention?: KeptAttention | null;
  pictures: Partial<Record<What, KeptPictures>>;
  final: KeptPicture | null;
  /** A linear map from latents to colours, fitted on this run; none where nothing was decoded. */
  map: LinearMap | null;
  curves: Curves;
  shapes: SiteRow[];
  /** What was left out or made smaller to keep the page small: the page says it in words. */
  reduced: Reduction[];
}

/** A quantity that is in the page. */
export interface Kept {
  dtype: "f32" | "f16";
  steps: number[];
  /** The page computes it from the others instead of holding it. */
  derived: boolean;
  ranges: Ranges | null;
}

/** What becomes black and white, as the exporters find it: over all channels of all recorded steps. */
export interface Ranges {
  run: Range;
  percentile: Range;
  sigma: Range;
}

export type Range = [lo: number, hi: number];

export interface KeptPicture {
  width: number;
  height: number;
  format: "png" | "webp";
  /** Of WebP: 0 to 100. */
  quality: number | null;
}

export interface KeptPictures extends KeptPicture {
  steps: number[];
}

/** The attention that is in the page: of the prediction with the prompt. */
export interface KeptAttention {
  dtype: Dtype;
  steps: number[];
  /** The sizes of layers, the largest image first; their heads are what they count for. */
  sizes: { factor: number; heads: number }[];
  /** For each text of the record what can be looked at. */
  texts: KeptWord[][];
  /** Who gets how much at each step, in the order of the prompt; together 1. */
  shares: { of: string; points: Curve }[];
  /** Each head's maps in the mean over the steps; none of a run that did not come to its end. */
  heads: { dtype: Dtype; text: number; pass: number; layers: number } | null;
}

/** A word, or the start, the end or the padding of a text, with the columns that are its. */
export interface KeptWord {
  word: string;
  kind: "start" | "word" | "end" | "padding";
  columns: number[];
}

/** `f16` numbers instead of f32, maps in 256 levels, steps thinned, pictures made smaller or lossy, a quantity dropped. */
export interface Reduction {
  kind: "f16" | "levels" | "thinned" | "smaller" | "lossy" | "dropped";
  /** The quantities concerned, or `pictures`. */
  of: string[];
  /** Every Nth step; the side in pixels; the quality. */
  to: number | null;
}

export interface LinearMap {
  /** What each channel adds to red, green and blue. */
  weights: [number, number, number][];
  bias: [number, number, number];
  fit: { samples: number; r2: number; psnr_db: number };
}

export type Curve = [step: number, value: number][];

/** Numbers per step, as `sdviz plot` draws them. A curve that the record cannot give is absent. */
export interface Curves {
  norms: Partial<Record<Quantity | "scaled_latents", Curve>>;
  guidance: { difference: Curve; angle: Curve; share: Curve } | null;
  change: Curve | null;
  distance: { to: number; latents: Curve; predicted: Curve } | null;
}

export interface SiteRow {
  order: number;
  name: string;
  brief: boolean;
  symbolic: string;
  shape: number[];
  dtype: string;
  min: number | string;
  max: number | string;
  mean: number | string;
  std: number | string;
}

export interface Level {
  timestep: number | null;
  sigma: number;
  alpha_cumprod: number;
  latent_scale: number;
}

export interface Token {
  id: number;
  piece: string;
}

export interface RunRecord {
  /** What kind of run it is, where it does not draw. */
  kind?: string;
  status: "running" | "complete" | "failed" | "killed";
  failure?: string;
  sdviz_version?: string;
  plan: Plan;
  model: Model;
  tokens: {
    prompt: Token[];
    negative_prompt: Token[];
    window: number;
    prompt_cut?: string | null;
    negative_prompt_cut?: string | null;
  };
  schedule: Level[];
  /** What the prompts mean where they are not plain: the parts that `AND` joins. */
  conditions?: { prompt: { weight: number }[] } | null;
  hires?: { first_step: number; width: number; height: number; scale: number };
  begin?: { first_call: number; scheduled_calls: number; why: string };
  attention?: AttentionRecord | null;
  /** How often each edit changed a tensor; written at the end. */
  edits_fired?: number[];
  environment?: { device: string; dtype: string; threads: number };
}

/** What was kept of attention: docs/run-format.md#attention. */
export interface AttentionRecord {
  latents: [number, number];
  second_latents?: [number, number] | null;
  predictions: { prediction: string; schedule: { until: number; text: number }[] }[];
  texts: { text: string; columns: unknown[] }[];
  layers: { site: string; factor: number; heads: number; h: number; w: number }[];
}

/** An edit, as it was asked for and what it came to: docs/run-format.md#edits. */
export interface PlannedEdit {
  edit: string;
  sites?: string[];
  steps?: string;
  branch?: string;
  tokens?: string[];
}

/** A run that another goes on from, or copies from. */
export interface Parent {
  run: string;
  step: number;
  plan: Plan;
}

export interface Plan {
  prompt: string;
  negative_prompt: string;
  seed: number;
  batch_size: number;
  steps: number;
  guidance_scale: number;
  /** How far the guided prediction is brought back to the deviation of the one with the prompt; left out, not at all. */
  guidance_rescale?: number;
  width: number;
  height: number;
  scheduler: string;
  eta: number;
  /** Which layer of the text encoder counts; left out, the last, 1. */
  clip_skip?: number;
  strength?: number;
  init_image?: object | null;
  resize?: "stretch" | "crop" | "pad";
  mask?: object | null;
  paste?: boolean;
  hires?: { scale: number; strength: number; steps: number; upscaler: "latent" | "lanczos" } | null;
  attention?: object | null;
  record: Quantity[];
  decode: string;
  decode_what: What[];
  prompt_syntax?: string;
  edits?: PlannedEdit[];
  branch?: Parent | null;
  donors?: Parent[];
  /** It goes from a picture to noise, and does not draw. */
  inversion?: { refine?: number } | null;
  /** It looks into a picture at some noise levels, and does not draw. */
  look?: { at: number[] } | null;
}

export interface Model {
  id: string;
  latent_channels: number;
  vae_scale_factor: number;
  scaling_factor: number;
  prediction_type: string;
  components: { name: string; parameters: number; file_dtype: string }[];
  /** What decoded the pictures of the steps, where that was not the autoencoder. */
  preview?: { name: string; class_name: string } | null;
}

/** A sweep: its axes, and for each cell where it stands on them. */
export interface SweepData {
  name: string;
  axes: { name: string; title: string; labels: string[] }[];
  cells: SweepCell[];
}

export interface SweepCell {
  /** The cell's folder. */
  id: string;
  /** Its place on each axis. */
  at: number[];
  /** Its run in `Report.runs`; none while it is not made. */
  run: string | null;
}
