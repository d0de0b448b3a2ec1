// Pictures decoded before the scrubber comes to them. A few are held, so that the browser keeps them; not all, for each is
// a megabyte once it is decoded.
import type { RunView } from "./run";
import type { What } from "./types";

const REACH = 4;
const WHATS: readonly What[] = ["latents", "predicted_original"];

const held = new Set<HTMLImageElement>();

/** Has the browser decode the pictures of the steps about a place among the run's steps. */
export function decodeAhead(run: RunView, index: number): void {
  const near = run.data.steps.slice(Math.max(index - 1, 0), index + 1 + REACH);
  held.clear();
  for (const step of near) {
    for (const what of WHATS) {
      const address = run.picture(what, step);
      if (address === null) continue;
      const image = new Image();
      image.src = address;
      image.decode().catch(() => {});
      held.add(image);
    }
  }
}
