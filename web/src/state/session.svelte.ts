// Which runs the page has, which one is looked at, in which view. The address after `#` says the same, so that a place in
// a report can be passed on.
import type { RunView } from "../data/run";
import type { Report } from "../data/types";
import { player } from "./player.svelte";

export const VIEWS = ["player", "channels", "guidance", "shapes", "compare", "sweep", "lesson"] as const;

export type View = (typeof VIEWS)[number];

/** The boxes of the overview. */
export const STAGES = ["prompt", "tokens", "embeddings", "steps", "picture"] as const;

export type Stage = (typeof STAGES)[number];

class Session {
  runs = $state.raw<RunView[]>([]);
  report = $state.raw<Report | null>(null);
  /** The run that is looked at: a place in `runs`. */
  main = $state(0);
  /** The runs it is compared with. */
  others = $state.raw<number[]>([]);
  view = $state<View>("player");
  /** The box of the overview that is open. */
  stage = $state<Stage | null>(null);
  help = $state(false);

  get run(): RunView {
    return this.runs[this.main]!;
  }

  /** Whether a view has something to show. */
  offers(view: View): boolean {
    if (view === "compare") return this.runs.length > 1;
    if (view === "sweep") return this.report?.sweep !== null && this.report?.sweep !== undefined;
    return true;
  }

  /** Takes the runs of a page. */
  open(report: Report, runs: RunView[]): void {
    this.report = report;
    this.runs = runs;
    this.main = 0;
    this.others = runs.length > 1 ? [1] : [];
    if (report.sweep) this.view = "sweep";
    if (runs.length) player.load(this.run.data.steps);
    this.#fromAddress();
  }

  /** Looks at another run, as far on its way as the one before. */
  show(index: number): void {
    if (index === this.main || !this.runs[index]) return;
    const share = player.share;
    this.others = this.others.map((other) => (other === index ? this.main : other));
    this.main = index;
    player.load(this.run.data.steps, share);
  }

  go(view: View): void {
    if (this.offers(view)) this.view = view;
  }

  #fromAddress(): void {
    const words = new URLSearchParams(location.hash.slice(1));
    const index = this.runs.findIndex((run) => run.id === words.get("run"));
    if (index > 0) this.show(index);
    const view = VIEWS.find((name) => name === words.get("view"));
    if (view) this.go(view);
    const step = words.get("step");
    if (step !== null && Number.isInteger(Number(step))) player.seek(Number(step));
  }

  /** The address of this place: `#view=player&step=12`. */
  get address(): string {
    const words = new URLSearchParams();
    if (this.main > 0) words.set("run", this.run.id);
    words.set("view", this.view);
    words.set("step", String(player.step));
    return `#${words}`;
  }
}

export const session = new Session();
