// The curves of a run in the order in which they are drawn, named in the chosen language.
import type { RunView } from "../data/run";
import type { Curve, Quantity } from "../data/types";
import type { Texts } from "../i18n/index.svelte";
import type { Series } from "../parts/Chart.svelte";

export interface Plot {
  name: "schedule" | "norms" | "guidance" | "change" | "distance";
  series: Series[];
}

const NORMS: (Quantity | "scaled_latents")[] = ["latents", "scaled_latents", "noise_uncond", "noise_text", "noise_guided", "predicted_original"];

/** The curves that a run can give; of what was not recorded, an empty plot. */
export function plots(run: RunView, texts: Texts): Plot[] {
  const { curves } = run.data;
  const c = texts.curves;
  const level = (value: (alpha: number) => number): Curve =>
    run.record.schedule.map((l, step) => [step, value(l.alpha_cumprod)]);
  const norms = NORMS.flatMap((key) => {
    const points = curves.norms[key];
    return points ? [{ name: key === "scaled_latents" ? c.scaled : texts.quantities[key], points }] : [];
  });
  const { guidance, change, distance } = curves;
  return [
    {
      name: "schedule",
      series: [
        { name: c.signal, points: level(Math.sqrt) },
        { name: c.noiseShare, points: level((alpha) => Math.sqrt(1 - alpha)) },
      ],
    },
    { name: "norms", series: norms },
    { name: "guidance", series: guidance ? [{ name: c.share, points: guidance.share }] : [] },
    { name: "change", series: change ? [{ name: c.change, points: change }] : [] },
    {
      name: "distance",
      series: distance
        ? [
            { name: c.toLatents, points: distance.latents },
            { name: c.toPredicted, points: distance.predicted },
          ]
        : [],
    },
  ];
}

export function about(name: Plot["name"], texts: Texts): string {
  return texts.curves[`${name}About`];
}
