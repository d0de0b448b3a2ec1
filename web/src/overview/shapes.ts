// The real shape that each arrow of the overview carries: from the shape log, else from what the record implies.
import type { RunView } from "../data/run";
import type { SiteRow } from "../data/types";

export interface Shapes {
  tokens: number[] | null;
  embeddings: number[] | null;
  latents: number[] | null;
  picture: number[] | null;
}

/** The log's row of this name. */
export function site(run: RunView, name: string): SiteRow | null {
  return run.data.shapes.find((row) => row.name === name) ?? null;
}

export function shapes(run: RunView): Shapes {
  // Of a run with two passes the log has the first one's picture.
  const { hires } = run.record;
  const { channels, height, width } = run.size(run.planned);
  const guided = run.plan.guidance_scale > 1 ? 2 : 1;
  const { window } = run.record.tokens;
  return {
    tokens: site(run, "tokens")?.shape ?? (window ? [guided * run.plan.batch_size, window] : null),
    embeddings: site(run, "text_embeddings")?.shape ?? null,
    latents: [run.plan.batch_size, channels, height, width],
    picture: hires ? [run.plan.batch_size, 3, hires.height, hires.width] : (site(run, "image")?.shape ?? null),
  };
}
