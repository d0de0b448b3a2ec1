// What the server says: its OpenAPI document (`/api/openapi.json`) has the same names.
import type { What } from "../data/types";

export type State = "queued" | "running" | "complete" | "failed" | "cancelled";

export interface Summary {
  id: string;
  state: State;
  failure?: string;
  visitor?: string;
  asked_unix: number;
  seconds?: number;
  prompt: string;
  negative_prompt: string;
  seed: number;
  steps: number;
  guidance_scale: number;
  scheduler: string;
  sigmas?: string;
  width: number;
  height: number;
  pictures: number;
  strength?: number;
  step: number;
  last_step: number;
}

export interface Stand {
  running: string | null;
  order: string[];
  runs: Summary[];
}

export interface Preview {
  run: string;
  step: number;
  last_step: number;
  what: What;
  image: string;
}

export interface StepTold {
  run: string;
  step: number;
  last_step: number;
  pictures: What[];
  /** Whether the pictures are a preview decoder's. */
  preview_decoder?: boolean;
}

export interface Capabilities {
  version: string;
  read_only: boolean;
  model: { id: string; name: string; size: number; factor: number; guidance_scale: number; steps: number; scheduler: string; small: boolean } | null;
  limits: { steps: number; size: number; pictures: number; queue_per_visitor: number; seconds: number; prompt: number };
  /** With the ways to place noise levels that each takes, and whether it takes eta; an older server does not say. */
  schedulers: { name: string; about: string; sigmas: string[]; takes_eta?: boolean }[];
  visitor: string;
  role: "guest" | "host";
  join: { code: string; address: string } | null;
}

export interface Refused {
  error: string;
  hint?: string;
}
