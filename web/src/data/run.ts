// A run to look at: its record with its source. Tensors are kept once they came, and never stand in reactive state.
import { AttentionView } from "./attention";
import { guide, predictedOriginal } from "./derive";
import type { Source, Tensor } from "./source";
import type { Level, Quantity, RunData, What } from "./types";

export class RunView {
  /** Numbers that came, by quantity and step; a promise while they are on their way. */
  #numbers = new Map<string, Float32Array | Promise<Float32Array>>();

  /** Its attention; null where none was recorded. */
  readonly attention: AttentionView | null;

  constructor(
    readonly data: RunData,
    readonly source: Source,
  ) {
    this.attention = data.attention && data.record.attention ? new AttentionView(this, data.attention) : null;
  }

  get id(): string {
    return this.data.id;
  }

  get record() {
    return this.data.record;
  }

  get plan() {
    return this.data.record.plan;
  }

  /** The last whole step. */
  get last(): number {
    return this.data.steps.at(-1) ?? 0;
  }

  /** The last step that was planned. */
  get planned(): number {
    return Math.max(this.data.record.schedule.length - 1, this.last);
  }

  /** The noise level of the latents after a step. */
  level(step: number): Level | undefined {
    return this.data.record.schedule[step];
  }

  /** The level at which the model was called for a step: that of the latents which entered. */
  entered(step: number): Level | undefined {
    return step > 0 ? this.level(step - 1) : undefined;
  }

  /** Whether a step is the second pass's. */
  inSecondPass(step: number): boolean {
    const second = this.record.hires;
    return second !== undefined && second !== null && step >= second.first_step;
  }

  /** The step that the second pass begins with; null where there is one pass. */
  get secondBegins(): number | null {
    return this.record.hires?.first_step ?? null;
  }

  /** Whether a pass begins with a step: then nothing was predicted in it. */
  begins(step: number): boolean {
    return step === 0 || step === this.secondBegins;
  }

  /** How often the model looks: once a step, but for those that a pass begins with. */
  get calls(): number {
    return this.planned - (this.secondBegins === null ? 0 : 1);
  }

  /** Height and width of a step's latents. */
  size(step: number): { channels: number; height: number; width: number } {
    const { latent_channels, vae_scale_factor } = this.record.model;
    const { width, height } = this.inSecondPass(step) ? this.record.hires! : this.plan;
    const factor = vae_scale_factor || 8;
    return { channels: latent_channels || 4, height: Math.round(height / factor), width: Math.round(width / factor) };
  }

  /** Whether the page has a quantity at all. */
  has(key: Quantity): boolean {
    return this.data.tensors[key] !== undefined;
  }

  /** The step nearest below or at `step` that has a quantity, else the first that has it. */
  nearest(key: Quantity, step: number): number | null {
    return atOrBelow(this.data.tensors[key]?.steps, step);
  }

  /** The same for decoded pictures. */
  nearestPicture(what: What, step: number): number | null {
    return atOrBelow(this.data.pictures[what]?.steps, step);
  }

  /** The address of a step's decoded picture; null where that step was not decoded. */
  picture(what: What, step: number): string | null {
    const there = this.data.pictures[what]?.steps.includes(step);
    return there ? this.source.picture(this.id, step, what) : null;
  }

  /** Whether a preview decoder made the picture of a step, and not the model's own. */
  previewed(what: What, step: number): boolean {
    const { model, hires, kind } = this.record;
    if (!model.preview) return false;
    const own = step === this.planned || step + 1 === hires?.first_step || (step === 0 && kind === "inversion");
    return !(what === "latents" && own);
  }

  /** The address of the finished picture. */
  final(): string | null {
    return this.data.final ? this.source.final(this.id) : null;
  }

  /** A tensor as it was recorded: at once if it came before. Null where it was not recorded. */
  tensor(key: Quantity, step: number): Tensor | Promise<Tensor> | null {
    const numbers = this.#get(key, step);
    if (numbers === null) return null;
    return numbers instanceof Promise ? numbers.then((n) => this.#shaped(n, step)) : this.#shaped(numbers, step);
  }

  /** The latents as the model sees them: divided by the level's scale, in f32 as the exporters do. */
  scaled(key: Quantity, step: number): Tensor | Promise<Tensor> | null {
    const scale = key === "latents" ? (this.level(step)?.latent_scale ?? 1) : 1;
    const tensor = this.tensor(key, step);
    if (tensor === null || scale === 1 || !(scale > 0)) return tensor;
    const divisor = Math.fround(scale);
    const divide = (t: Tensor): Tensor => ({ ...t, data: t.data.map((v) => v / divisor) });
    return tensor instanceof Promise ? tensor.then(divide) : divide(tensor);
  }

  /** Unpacks what the page holds, the steps nearest to `around` first, whenever the browser has nothing else to do. */
  async prefetch(around: number, wanted: () => boolean): Promise<void> {
    const keys = Object.entries(this.data.tensors).filter(([, kept]) => !kept.derived).map(([key]) => key as Quantity);
    const steps = [...this.data.steps].sort((a, b) => Math.abs(a - around) - Math.abs(b - around));
    for (const step of steps) {
      for (const key of keys) {
        await idle();
        if (!wanted()) return;
        await this.#get(key, step);
      }
    }
  }

  #shaped(data: Float32Array, step: number): Tensor {
    return { data, ...this.size(step) };
  }

  #get(key: Quantity, step: number): Float32Array | Promise<Float32Array> | null {
    const kept = this.data.tensors[key];
    if (!kept || !kept.steps.includes(step)) return null;
    const name = `${key}-${step}`;
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    const coming = kept.derived ? this.#derive(key, step) : this.source.numbers(this.id, step, key, kept);
    const settled = coming.then(
      (numbers) => {
        const { channels, height, width } = this.size(step);
        if (numbers.length < channels * height * width) {
          this.#numbers.delete(name);
          throw new Error(`${key} of step ${step} has ${numbers.length} numbers, and ${channels}×${height}×${width} were expected`);
        }
        this.#numbers.set(name, numbers);
        return numbers;
      },
      (reason) => {
        this.#numbers.delete(name);
        throw reason;
      },
    );
    this.#numbers.set(name, settled);
    return settled;
  }

  async #derive(key: Quantity, step: number): Promise<Float32Array> {
    if (key === "noise_guided") {
      const [uncond, text] = await Promise.all([this.#get("noise_uncond", step), this.#get("noise_text", step)]);
      if (uncond && text) return guide(uncond, text, this.plan.guidance_scale);
    }
    if (key === "predicted_original") {
      const [entered, guided] = await Promise.all([this.#get("latents", step - 1), this.#get("noise_guided", step)]);
      const level = this.entered(step);
      if (entered && guided && level) {
        return predictedOriginal(entered, guided, level, this.record.model.prediction_type);
      }
    }
    throw new Error(`${key} of step ${step} cannot be derived`);
  }
}

function atOrBelow(steps: number[] | undefined, step: number): number | null {
  if (!steps?.length) return null;
  let found = steps[0]!;
  for (const s of steps) if (s <= step) found = s;
  return found;
}

/** A moment in which the browser has nothing else to do. */
function idle(): Promise<void> {
  return new Promise((done) => {
    if (typeof requestIdleCallback === "function") requestIdleCallback(() => done(), { timeout: 500 });
    else setTimeout(done, 20);
  });
}
