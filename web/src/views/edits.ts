// What was changed in a run, which run it is to be compared with, and what its edits select.
import type { RunView } from "../data/run";

/** Whether a run was changed on its way, goes on from another, copies from one, or runs backwards. */
export function isChanged({ plan }: RunView): boolean {
  return Boolean(plan.edits?.length || plan.branch || plan.donors?.length || plan.inversion);
}

/** The run beside which a change is seen: one without it, as like the changed one as there is. */
export function baseOf(changed: RunView, runs: readonly RunView[]): RunView | null {
  const likeness = (run: RunView): number => {
    const [a, b] = [run.plan, changed.plan];
    const same = [a.prompt === b.prompt, a.seed === b.seed, a.steps === b.steps, a.guidance_scale === b.guidance_scale, a.scheduler === b.scheduler, a.width === b.width && a.height === b.height];
    return same.filter(Boolean).length + (isChanged(run) ? 0 : 10);
  };
  const others = runs.filter((run) => run !== changed);
  return others.reduce<RunView | null>((best, run) => (best && likeness(best) >= likeness(run) ? best : run), null);
}

/** The tokens that an edit selects, as the vocabulary writes them. */
export function tokensOf(run: RunView, tokens: readonly string[]): string {
  const { prompt, negative_prompt } = run.record.tokens;
  const piece = (token: string): string => {
    const [text, place] = token.split(":");
    const list = text === "prompt" ? prompt : text === "negative" ? negative_prompt : undefined;
    return list?.[Number(place)]?.piece.replace("</w>", "") ?? `#${place}`;
  };
  return tokens.map(piece).join(", ");
}
