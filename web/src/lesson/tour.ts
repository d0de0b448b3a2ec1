// The guided tour: each page shows a view, sets it up, and lights the very control it speaks of.
import type { RunView } from "../data/run";
import { lab } from "../state/lab.svelte";
import { player } from "../state/player.svelte";
import { session, type View } from "../state/session.svelte";

export interface Page {
  id:
    | "overview"
    | "noise"
    | "latent"
    | "channels"
    | "predict"
    | "expected"
    | "words"
    | "guidance"
    | "scale"
    | "steps"
    | "decode";
  /** The `data-guide` of what is lit. */
  lights: string;
  view: View;
  /** Whether a run has what the page shows; left out, every run has. */
  fits?: (run: RunView) => boolean;
  enter?: () => void;
  leave?: () => void;
}

function seekShare(share: number): void {
  player.pause();
  player.seek(player.first + share * (player.last - player.first));
}

export const PAGES: readonly Page[] = [
  { id: "overview", lights: "overview", view: "player" },
  { id: "noise", lights: "transport", view: "player", enter: () => seekShare(0), leave: () => player.pause() },
  { id: "latent", lights: "mixed", view: "channels", enter: () => seekShare(1) },
  { id: "channels", lights: "layers", view: "channels", enter: () => seekShare(1) },
  { id: "predict", lights: "noise", view: "player", enter: () => seekShare(0.4) },
  { id: "expected", lights: "x0", view: "player", enter: () => player.seek(player.steps[1] ?? 0) },
  { id: "words", lights: "maps", view: "words", fits: (run) => run.attention?.mapped === true, enter: () => seekShare(0.6) },
  { id: "guidance", lights: "parts", view: "guidance", enter: () => seekShare(0.25) },
  {
    id: "scale",
    lights: "what-if",
    view: "guidance",
    enter: () => seekShare(0.25),
    leave: () => (lab.scale = null),
  },
  { id: "steps", lights: "curves", view: "player", enter: () => seekShare(0.2) },
  {
    id: "decode",
    lights: "stage-picture",
    view: "player",
    enter: () => (session.stage = "picture"),
    leave: () => (session.stage = null),
  },
];
