// What sets runs apart: the settings in which they differ, in words.
import type { RunView } from "../data/run";
import type { Texts } from "../i18n/index.svelte";

/** The settings of a run that shape its pictures, by name. */
function settings(run: RunView, texts: Texts): [string, string][] {
  const { plan, model } = run.record;
  const o = texts.overview;
  return [
    [o.prompt, plan.prompt],
    [o.negative, plan.negative_prompt || "–"],
    [o.seed, String(plan.seed + run.data.batch)],
    [o.steps, String(plan.steps)],
    [o.scale, String(plan.guidance_scale)],
    [o.scheduler, plan.scheduler],
    [o.size, run.record.hires ? o.twoSizes(`${plan.width}×${plan.height}`, `${run.record.hires.width}×${run.record.hires.height}`) : `${plan.width}×${plan.height}`],
    [o.model, model.id],
    [o.strength, plan.strength === undefined ? "–" : String(plan.strength)],
    ["η", String(plan.eta)],
    [texts.edits.label, plan.edits?.map(({ edit }) => edit).join(" + ") || "–"],
  ];
}

/** For each run the settings that not all of them share. */
export function apart(runs: readonly RunView[], texts: Texts): [string, string][][] {
  const all = runs.map((run) => settings(run, texts));
  const differs = (i: number) => all.some((one) => one[i]![1] !== all[0]![i]![1]);
  return all.map((one) => one.filter((_, i) => differs(i)));
}

/** The step that would be as far on its way as `share`, 0..=1, if a run came to its end. */
function meant(run: RunView, share: number): number {
  return Math.round(share * run.planned);
}

/** The step of a run that is as far on its way as `share`: the last before it where that is not here. */
export function stepAt(run: RunView, share: number): number {
  const step = meant(run, share);
  return run.data.steps.filter((own) => own <= step).at(-1) ?? 0;
}

/** Whether a run ended before it was so far on its way. */
export function endedBefore(run: RunView, share: number): boolean {
  return run.last < meant(run, share);
}
